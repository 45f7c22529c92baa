"""Pictures for the documents: `uv run python tests/screenshots.py` makes them anew.

Each function of PICTURES makes one file in docs/images/, whose name it has.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from browser import DESKTOP, launched, visit
from PIL import Image
from rendering import ROOT, copy_template, render
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text
from served import serving

IMAGES = ROOT / "docs" / "images"

# of one picture, in bytes
LARGEST = 300_000

PACKAGE = "leaves"

# what is typed, and where what it says is kept
TRAIN = ("train", "--epochs", "8")
SAID = "said.txt"
COLUMNS = 148


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
            path = IMAGES / name
            PICTURES[name](project, path)
            if path.suffix == ".png":
                shrink(path)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    return 0


def trained_project(folder: Path) -> Path:
    """The default project after a training as a newcomer does it."""
    template = copy_template(folder / "tp35")
    project = render(template, folder / "leaves", {"project_name": "Leaves"})
    command = folder / "bin" / "leaves"  # as `uv run` would have installed it
    command.parent.mkdir()
    command.write_text(f"import sys\nfrom {PACKAGE}.cli import main\nsys.exit(main())\n", "utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(project / "src"),
        "RUN_STAMP": "digits",
        "UV_RUN_RECURSION_DEPTH": "1",
    }
    done = subprocess.run(
        [sys.executable, command, *TRAIN],
        cwd=project,
        env=environment,
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    (project / SAID).write_text(done.stderr, "utf-8")
    return project


def terminal(project: Path, path: Path) -> None:
    """What a training says, from the first epoch on."""
    said = (project / SAID).read_text("utf-8")
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text.from_markup(f"[bold]$[/] uv run leaves {' '.join(TRAIN)}"))
    lines = said[said.index("epoch 1/") :].splitlines()
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    # a reader's browser has a font of its own, and asks nobody for another
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(path), title="leaves", code_format=form, unique_id="terminal")


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


def page(project: Path, path: Path) -> None:
    """The page of the bundle's server, with an answer."""
    [bundle] = project.glob("exports/*")
    with (
        serving(bundle) as served,
        launched() as browser,
        visit(browser, served.url, width=DESKTOP) as seen,
    ):
        seen.page.locator("#example").click()
        seen.page.wait_for_selector("#same-call:not([hidden])")
        seen.page.screenshot(path=path, full_page=True)


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


PICTURES: dict[str, Callable[[Path, Path], None]] = {
    "terminal.svg": terminal,
    "report.png": report,
    "confusion.png": confusion,
    "page.png": page,
}

if __name__ == "__main__":
    sys.exit(main())
