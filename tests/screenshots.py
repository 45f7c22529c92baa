"""Pictures for the documents: `uv run python tests/screenshots.py` makes them anew.

Each function of PICTURES makes one file in docs/images/, whose name it has.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from browser import DESKTOP, launched, visit
from PIL import Image
from rendering import ROOT, copy_template, render

IMAGES = ROOT / "docs" / "images"

# of one picture, in bytes
LARGEST = 300_000

PACKAGE = "leaves"


def main() -> int:
    """Make all pictures, or those that are named."""
    wanted = sys.argv[1:] or list(PICTURES)
    if unknown := set(wanted) - PICTURES.keys():
        print(f"no such picture: {', '.join(unknown)}; there are {', '.join(PICTURES)}")
        return 2
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = trained_project(Path(folder))
        for name in wanted:
            path = IMAGES / f"{name}.png"
            PICTURES[name](project, path)
            shrink(path)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    return 0


def trained_project(folder: Path) -> Path:
    """The default project after a training as a newcomer does it."""
    template = copy_template(folder / "tp35")
    project = render(template, folder / "leaves", {"project_name": "Leaves"})
    run(project, "train", "--epochs", "8", "--export_bundle", "false", name="digits")
    return project


def run(project: Path, *command: str, name: str = "") -> None:
    """Run a command of a project; a run that it begins gets this name."""
    environment = os.environ | {"PYTHONPATH": str(project / "src"), "RUN_STAMP": name}
    subprocess.run(
        [sys.executable, "-m", PACKAGE, *command], cwd=project, env=environment, check=True
    )


def report(project: Path, path: Path) -> None:
    """The head of a report: verdict, metrics, loss."""
    [page] = project.glob("runs/*/report.html")
    with launched() as browser, visit(browser, page, width=DESKTOP) as seen:
        seen.page.wait_for_selector("html[data-drawn]", state="attached")
        seen.page.screenshot(
            path=path,
            full_page=True,
            clip={"x": 0, "y": 0, "width": DESKTOP, "height": 1240},
        )


def confusion(project: Path, path: Path) -> None:
    """The confusion matrix of a report, with the samples of a cell."""
    [page] = project.glob("runs/*/report.html")
    with launched() as browser, visit(browser, page, width=DESKTOP) as seen:
        seen.page.wait_for_selector("html[data-drawn]", state="attached")
        seen.page.locator("#confusion").screenshot(path=path)


def shrink(path: Path) -> None:
    """Store a picture in as few bytes as it takes.

    Raises:
        SystemExit: they are too many.
    """
    with Image.open(path) as picture:
        whole = picture.convert("RGB")
    whole.save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has more than {LARGEST} bytes")


PICTURES: dict[str, Callable[[Path, Path], None]] = {"report": report, "confusion": confusion}

if __name__ == "__main__":
    sys.exit(main())
