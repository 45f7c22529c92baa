"""How long it takes to make a bundle."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from .harness import Row, Scale, Target, Way, benchmark, interleave, project, seconds, versions

# what `export` imports, as it does
IMPORTS = """
import time; started = time.perf_counter()
from {package} import cli
import {package}.training.checkpoints, {package}.export.of_run
import onnx, onnxruntime, onnxscript, onnx_ir, torch.export
print(time.perf_counter() - started)
"""
FORMATS = ("onnx", "torchscript")


class NoBundleError(Exception):
    """An export left something else than a bundle that is proven; the message says what."""


@benchmark("Making a bundle", minutes=4)
def bundle(scale: Scale) -> Iterator[Row]:
    """`export` of the default project: both formats, compared, and checked by themselves."""
    with project("vision") as made:
        train = ["train", "--max_steps", "2" if scale.toy else "30", "--export_bundle", "false"]
        _run(made.command(*train), made.environment)
        export = made.command("export")
        _run(export, made.environment)
        found = [path for path in (made.folder / "exports").iterdir() if path.is_dir()]
        if len(found) != 1:
            raise NoBundleError(f"export left {len(found)} bundles")
        metadata = made.module("serving.runtime").read_metadata(found[0])
        proven = {result["format"] for result in metadata["parity"]}
        if proven != set(FORMATS):
            raise NoBundleError(f"export has proven {', '.join(sorted(proven))}")
        imports = [sys.executable, "-c", IMPORTS.format(package=made.package)]

        def imported() -> float:
            return float(_run(imports, made.environment))

        taken = interleave(
            {
                "export": lambda: seconds(lambda: _run(export, made.environment)),
                "imports": imported,
            },
            scale,
        )
        if scale.rounds:
            ways = [
                Way("export", "ours", taken["export"]),
                Way(
                    "importing, of that",
                    versions("torch", "onnxscript", "onnxruntime"),
                    taken["imports"],
                ),
            ]
            targets = [Target("export", most=12.0), Target("importing, of that", most=3.0)]
            yield Row("a bundle of the default project", "s", ways, targets)


def _run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise NoBundleError(f"{' '.join(command[1:4])} fails:\n{done.stderr[-3000:]}")
    return done.stdout
