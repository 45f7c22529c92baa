"""The command line of inference.py, the same for every kind of input."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from .engine import InferenceEngine, InvalidInput, Item
from .integrity import BundleError, read_metadata, verify_files

STDIN = "-"


def run(engine_class: type[InferenceEngine], bundle: Path, arguments: list[str] | None) -> int:
    """Predict or verify as the arguments say.

    Returns:
        exit status: 0, or 1 where the bundle or any input failed.
    """
    try:
        return _run(engine_class, bundle, _parse(engine_class, bundle, arguments))
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parse(
    engine_class: type[InferenceEngine], bundle: Path, arguments: list[str] | None
) -> argparse.Namespace:
    metadata = read_metadata(bundle)
    formats = list(metadata["artifacts"])
    parser = argparse.ArgumentParser(
        prog="inference.py", description=f"Predict with {metadata['name']}: one JSON line per input"
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--input",
        nargs="+",
        metavar="FILE",
        help=f"files, folders (searched for {', '.join(engine_class.suffixes)}), "
        f"or {STDIN} for one input from standard input",
    )
    what.add_argument(
        "--verify",
        action="store_true",
        help="compare every file with its hash, then run the stored example; "
        "in every format unless --format names one",
    )
    parser.add_argument("--format", choices=formats, help=f"artifact to run ({formats[0]})")
    parser.add_argument("--batch_size", type=_positive, default=32, help="inputs in one run (32)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the lines to a file")
    parser.add_argument("--threads", type=_positive, help="threads of one run (all cores)")
    parser.add_argument(
        "--max_item_size",
        type=_positive,
        default=engine_class.default_max_item_size,
        help=f"largest input, in {engine_class.item_unit} ({engine_class.default_max_item_size:,})",
    )
    engine_class.add_options(parser)
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _run(engine_class: type[InferenceEngine], bundle: Path, options: argparse.Namespace) -> int:
    if options.verify:
        formats = [options.format] if options.format else list(read_metadata(bundle)["artifacts"])
        return _verify(engine_class, bundle, formats)
    engine = engine_class(bundle, options.format, options.threads, options.max_item_size)
    engine.use_options(options)
    failures = 0
    try:
        output = options.output.open("w", encoding="utf-8") if options.output else None
    except OSError as error:
        raise BundleError(f"{options.output} cannot be written: {error.strerror}") from error
    with output or nullcontext(sys.stdout) as lines:
        names = _expand(options.input, engine.suffixes)
        while batch := list(islice(names, options.batch_size)):
            failures += _predict(engine, batch, lines)
    return 1 if failures else 0


def _verify(engine_class: type[InferenceEngine], bundle: Path, formats: Sequence[str]) -> int:
    count = verify_files(bundle)
    print(f"{count} files are as recorded")
    for name in formats:
        error = engine_class(bundle, name).verify_example()
        print(f"{name} reproduces the stored example (error {error:.1e})")
    return 0


def _expand(names: Sequence[str], suffixes: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if name != STDIN and Path(name).is_dir():
            files = sorted(path for path in Path(name).rglob("*") if path.is_file())
            yield from (str(path) for path in files if path.suffix.lower() in suffixes)
        else:
            yield name


def _predict(engine: InferenceEngine, names: Sequence[str], lines: TextIO) -> int:
    """Write one line per input, in order; an input that fails has its error there instead."""
    items: list[Item] = []
    answers: list[dict[str, Any] | None] = []
    for name in names:
        try:
            items.append(_decode(engine, name))
            answers.append(None)
        except (InvalidInput, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            answers.append({"error": reason})
            print(f"error: {name}: {reason}", file=sys.stderr)
    pairs = zip(items, engine.logits(items) if items else [], strict=True)
    results = iter([engine.answer(item, logits) for item, logits in pairs])
    for name, failure in zip(names, answers, strict=True):
        answer = {"input": name, **(next(results) if failure is None else failure)}
        print(json.dumps(answer, ensure_ascii=False), file=lines)
    lines.flush()
    return len(names) - len(items)


def _decode(engine: InferenceEngine, name: str) -> Item:
    payload = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # for each input anew
        item = engine.decode(payload)
    for warning in caught:
        print(f"warning: {name}: {warning.message}", file=sys.stderr)
    return item
