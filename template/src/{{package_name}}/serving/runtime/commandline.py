"""The command line of inference.py, the same for every kind of input."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from .engine import InferenceEngine, InvalidInput, Item
from .integrity import METADATA, BundleError, proof, read_metadata, verify_files
from .outputs import ERROR, FORMS, Lines, opened
from .sessions import AUTO, CPU, CUDA
from .sources import STDIN, TABLES, Source, SourceReader, text_source

# a tool that a signal ends has that much more as its status
SIGNALLED = 128
SIGPIPE = 13  # Windows has none


def run(engine_class: type[InferenceEngine], bundle: Path, arguments: list[str] | None) -> int:
    """Predict or verify as the arguments say.

    Returns:
        exit status: 0, or 1 where the bundle or any input failed; 130 after Ctrl-C, and 141 where
        whoever read the answers has gone.
    """
    try:
        status = _run(engine_class, bundle, _parse(engine_class, bundle, arguments))
        sys.stdout.flush()  # only now may a closed pipe show
        return status
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # what is left in the buffer would fail once more at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGNALLED + SIGPIPE


def _parse(
    engine_class: type[InferenceEngine], bundle: Path, arguments: list[str] | None
) -> argparse.Namespace:
    metadata = read_metadata(bundle)
    formats = list(metadata["artifacts"])
    parser = argparse.ArgumentParser(
        prog="inference.py", description=f"Predict with {metadata['name']}: one line per input"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--input",
        nargs="+",
        metavar="FILE",
        help=f"files, folders (searched for {', '.join(engine_class.suffixes)}), patterns such as "
        f"'*{engine_class.suffixes[0]}', tables ({', '.join(TABLES)}), or {STDIN} for one input "
        "from standard input",
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
    parser.add_argument(
        "--column",
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
        default=engine_class.default_max_item_size,
        help=f"largest input, in {engine_class.item_unit} ({engine_class.default_max_item_size:,})",
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
    sources = _sources(engine_class, options)
    done = failures = 0
    try:
        with opened(options.output) as file:
            lines = FORMS[form](file, engine.metadata["class_names"])
            while batch := list(islice(sources, options.batch_size)):
                failures += _predict(engine, batch, lines)
                done += len(batch)
            lines.end()
    except KeyboardInterrupt:
        lost = f"; {options.output} is not written" if options.output else ""
        print(f"interrupted after {done} inputs{lost}", file=sys.stderr)
        return SIGNALLED + signal.SIGINT
    return 1 if failures else 0


def _is_csv(output: Path | None) -> bool:
    return output is not None and output.suffix.lower() == ".csv"


def _of_column(engine_class: type[InferenceEngine]) -> str:
    return "texts" if engine_class.takes_text else "paths of files, from where the table lies"


def _sources(engine_class: type[InferenceEngine], options: argparse.Namespace) -> Iterator[Source]:
    if options.input is None:
        return map(text_source, options.text)
    return SourceReader(engine_class, options.column, options.output).find(options.input)


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


def _predict(engine: InferenceEngine, sources: Sequence[Source], lines: Lines) -> int:
    """Write one line per input, in order; an input that fails has its error there instead."""
    items: list[Item] = []
    answers: list[dict[str, Any] | None] = []
    for source in sources:
        try:
            items.append(_decode(engine, source))
            answers.append(None)
        except (InvalidInput, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            answers.append({ERROR: reason})
            print(f"error: {source.name}: {reason}", file=sys.stderr)
    pairs = zip(items, engine.logits(items) if items else [], strict=True)
    results = iter([engine.answer(item, logits) for item, logits in pairs])
    for source, failure in zip(sources, answers, strict=True):
        lines.write({"input": source.name, **(next(results) if failure is None else failure)})
    lines.flush()
    return len(sources) - len(items)


def _decode(engine: InferenceEngine, source: Source) -> Item:
    payload = source.read()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # for each input anew
        item = engine.decode(payload)
    for warning in caught:
        print(f"warning: {source.name}: {warning.message}", file=sys.stderr)
    return item
