"""The command line of inference.py, the same for every kind of input."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from .engine import InferenceEngine, InvalidInput, Item
from .integrity import METADATA, BundleError, proof, read_metadata, verify_files
from .messages import one_line
from .outputs import ERROR, FORMS, ROW, Answer, Lines, opened
from .sessions import AUTO, CPU, CUDA, RUN_ERRORS, Array
from .sources import COLUMN_OPTION, STDIN, Source, SourceReader, text_source
from .streams import discard, quiet_streams
from .tables import SUFFIXES as TABLES

# a tool that a signal ends has that much more as its status
SIGNALLED = 128
SIGPIPE = 13  # Windows has none


def run(engine_class: type[InferenceEngine], bundle: Path, arguments: list[str] | None) -> int:
    """Predict or verify as the arguments say.

    Returns:
        exit status: 0 where all inputs were answered; 1 where the bundle or any input failed, or
        files in a folder were left out; 2 for wrong arguments; 130 after Ctrl-C, and 141 where
        whoever read the answers has gone.
    """
    with quiet_streams():
        try:
            try:
                return _run(engine_class, bundle, _parse(engine_class, bundle, arguments))
            finally:  # --help ends here as well
                if sys.stdout is not None:
                    sys.stdout.flush()  # only now may a closed pipe show
        except BundleError as error:
            print(f"error: {one_line(str(error))}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            discard(sys.stdout)
            return SIGNALLED + SIGPIPE


def _parse(
    engine_class: type[InferenceEngine], bundle: Path, arguments: list[str] | None
) -> argparse.Namespace:
    metadata = read_metadata(bundle)
    formats, accepted = list(metadata["artifacts"]), engine_class.accepts(metadata)
    parser = argparse.ArgumentParser(
        prog="inference.py",
        description=f"Predict with {metadata['name']}: one line per input",
        epilog=f"Suffixes looked for in folders: {', '.join(accepted.suffixes)}",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--input",
        nargs="+",
        metavar="FILE",
        help="files, folders (searched for the suffixes below), patterns such as 'a/**/*.xyz', "
        f"tables ({', '.join(TABLES)}){_of_rows(engine_class)}, or {STDIN} for one input from "
        "standard input",
    )
    if engine_class.takes_text:
        what.add_argument("--text", nargs="+", metavar="TEXT", help="texts themselves")
    what.add_argument(
        "--verify",
        action="store_true",
        help="compare every file with its hash, then run the stored example; "
        "in every format unless --format names one",
    )
    parser.add_argument(
        "--digest",
        metavar="sha256:...",
        help=f"with --verify: that of {METADATA}, which the export printed",
    )
    parser.add_argument("--format", choices=formats, help=f"artifact to run ({formats[0]})")
    parser.add_argument("--batch_size", type=_positive, default=32, help="inputs in one run (32)")
    if engine_class.takes_rows:
        parser.set_defaults(column=None)
    else:
        parser.add_argument(
            COLUMN_OPTION,
            metavar="NAME",
            help=f"of tables: the one that holds {_of_column(engine_class)}; by default that of a "
            "usual name",
        )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="write the lines to a file, which appears once it is whole; CSV where it ends in .csv",
    )
    parser.add_argument(
        "--output_format", choices=list(FORMS), help="JSON or CSV lines, wherever they go (jsonl)"
    )
    parser.add_argument("--threads", type=_positive, help="threads of one run (all cores)")
    parser.add_argument(
        "--device",
        default=AUTO,
        help=f"where the artifact runs: {CUDA}, {CPU}, or what else the installed onnxruntime has; "
        f"{AUTO} is {CUDA} where that works, and {CPU} elsewhere ({AUTO})",
    )
    parser.add_argument(
        "--max_item_size",
        type=_positive,
        help=f"largest input, in {engine_class.item_unit} ({accepted.max_item_size:,})",
    )
    engine_class.add_options(parser)
    options = parser.parse_args(arguments)
    if options.digest and not options.verify:
        parser.error("--digest goes with --verify")
    return options


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _run(engine_class: type[InferenceEngine], bundle: Path, options: argparse.Namespace) -> int:
    if options.verify:
        formats = [options.format] if options.format else list(read_metadata(bundle)["artifacts"])
        return _verify(engine_class, bundle, formats, options)
    engine = engine_class(
        bundle, options.format, options.threads, options.max_item_size, options.device
    )
    engine.use_options(options)
    form = options.output_format or ("csv" if _is_csv(options.output) else "jsonl")
    notes = _Notes()
    sources = _sources(engine, options, notes)
    done = failures = truncated = 0
    try:
        with opened(options.output) as file:
            notes_of_one = ((ROW,) if engine.takes_rows else ()) + engine.note_names
            lines = FORMS[form](file, engine.metadata["class_names"], notes_of_one)
            while batch := list(islice(sources, options.batch_size)):
                answers = _predict(engine, batch)
                _write(batch, answers, lines)
                failures += sum(ERROR in answer for answer in answers)
                truncated += sum("truncated" in answer for answer in answers)
                done += len(batch)
            lines.end()
    except KeyboardInterrupt:
        lost = f"; {options.output} is not written" if options.output else ""
        print(f"interrupted after {done} inputs{lost}", file=sys.stderr)
        return SIGNALLED + signal.SIGINT
    if truncated:
        print(
            f"note: the network saw a part of {truncated} of {done} inputs; their answers say of "
            "how much",
            file=sys.stderr,
        )
    return 1 if failures or notes.left_out else 0


class _Notes:
    """What is told of inputs as a whole, each line once.

    Attributes:
        left_out: whether any of it is that something was.
    """

    def __init__(self) -> None:
        self.left_out = False
        self._told: set[str] = set()

    def __call__(self, line: str, left_out: bool) -> None:
        self.left_out |= left_out
        if line not in self._told:
            self._told.add(line)
            print(f"{'warning' if left_out else 'note'}: {one_line(line)}", file=sys.stderr)


def _is_csv(output: Path | None) -> bool:
    return output is not None and output.suffix.lower() == ".csv"


def _of_column(engine_class: type[InferenceEngine]) -> str:
    return "texts" if engine_class.takes_text else "paths of files, from where the table lies"


def _of_rows(engine_class: type[InferenceEngine]) -> str:
    return ", of which each row is an input" if engine_class.takes_rows else ""


def _sources(
    engine: InferenceEngine, options: argparse.Namespace, notes: _Notes
) -> Iterator[Source]:
    if options.input is None:
        return map(text_source, options.text)
    reader = SourceReader(
        engine.accepted,
        engine.takes_text,
        notes,
        engine.takes_rows,
        options.column,
        options.output,
    )
    return reader.find(options.input)


def _verify(
    engine_class: type[InferenceEngine],
    bundle: Path,
    formats: Sequence[str],
    options: argparse.Namespace,
) -> int:
    count = verify_files(bundle)
    proved = proof(bundle, options.digest)
    print(f"{count} files are as recorded")
    print(proved)
    for name in formats:
        engine = engine_class(bundle, name, options.threads, options.max_item_size, options.device)
        error = engine.verify_example()
        print(f"{name} reproduces the stored example (error {error:.1e})")
    return 0


def _predict(engine: InferenceEngine, sources: Sequence[Source]) -> list[Answer]:
    """The answer to each input, in order; one that fails has its error instead."""
    try:
        items = list(engine.decode_each(map(_payload, sources)))
    except MemoryError as error:
        if len(sources) > 1:  # one takes too much, but not the others
            return [answer for source in sources for answer in _predict(engine, [source])]
        return [{ERROR: _reason(error)}]
    answers = iter(_answers(engine, [item for item in items if not isinstance(item, InvalidInput)]))
    return [
        {ERROR: str(item)} if isinstance(item, InvalidInput) else next(answers) for item in items
    ]


def _payload(source: Source) -> bytes | InvalidInput:
    try:
        return source.read()
    except InvalidInput as error:
        return error
    except (OSError, MemoryError) as error:
        return InvalidInput(_reason(error))


def _write(sources: Sequence[Source], answers: Sequence[Answer], lines: Lines) -> None:
    """One line per input, with its row in a table; errors are told beside them too."""
    for source, answer in zip(sources, answers, strict=True):
        if ERROR in answer:
            print(f"error: {one_line(source.name)}: {one_line(answer[ERROR])}", file=sys.stderr)
        row = {} if source.row is None else {ROW: source.row}
        lines.write({"input": source.name, **row, **answer})
    lines.flush()


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _answers(engine: InferenceEngine, items: Sequence[Item]) -> list[Answer]:
    """What the engine answers to each item, or the error of one on which the network fails."""
    if not items:
        return []
    try:
        pairs = list(zip(items, engine.logits(items), strict=True))
    except (*RUN_ERRORS, MemoryError) as error:
        if len(items) > 1:  # one fails its batch, but not the others
            return [answer for item in items for answer in _answers(engine, [item])]
        return [_failed(error)]
    return [_answer(engine, item, logits) for item, logits in pairs]


def _answer(engine: InferenceEngine, item: Item, logits: Array) -> Answer:
    try:
        return engine.answer(item, logits)
    except (*RUN_ERRORS, MemoryError) as error:  # going on with a text runs the network again
        return _failed(error)


def _failed(error: Exception) -> Answer:
    return {ERROR: f"the network failed: {_reason(error)}"}
