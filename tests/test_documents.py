"""Blocks of code in the documents are run or checked, and what they quote is what is printed."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import settings_page
import yaml
from answer_space import MODALITIES, overlay
from documents import SHELLS, Block, blocks, pages
from reader import Reader, quick, sample_input, thin_out, torch_home
from rendering import ROOT, UNMEASURED, render
from warm import WarmProcess

PAGES = {path.name: blocks(path) for path in pages()}
ALL = [block for found in PAGES.values() for block in found]

# what is printed, and Sphinx's own
NO_CODE = ("text", "{toctree}")
# clients in languages that only serving.md speaks
CLIENTS = ("csharp", "java", "js")

# how many blocks no test runs, by their reason; one more is to be a decision
NOT_RUN = {
    "a row of copier.yml": 1,
    "changes Git's settings": 1,
    "downloads packages": 1,
    "ends an update": 1,
    "in a clone of this repository": 1,
    "installs packages": 2,
    "installs packages; `tests/test_demo.py` runs the demo": 1,
    "needs Docker": 4,
    "needs SLURM": 1,
    "needs a GPU": 1,
    "needs a cluster": 1,
    "needs a repository of the template that can be reached": 8,
    "needs model-signing": 1,
    "needs model-signing and cyclonedx-bom": 1,
    "needs several machines": 1,
    "needs the running server": 1,
    "no .NET here": 1,
    "no JDK here": 1,
    "no JavaScript runtime here": 1,
    "releases": 1,
    "runs until it is stopped": 1,
    "takes an hour and more": 1,
    "`tests/test_projects.py` runs them in every modality": 1,
    "`tests/test_toy_modality.py` adds a modality": 1,
    "`tests/test_vision_pixels.py` of a project gives such a file decoded images": 1,
}

# pages that a test of their own follows from the first block to the last
FOLLOWED = {"migrating-from-3.4.md": "test_migration_guide.py"}

# pages whose commands train several times, or measure
SLOW = ("own-model.md", "scaling.md")

# the projects that the pages speak of, by their command
PROJECTS = {"leaves": "vision", "notes": "text", "birds": "audio", "customers": "tabular"}


def of_language(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def run_here(page: str) -> list[Block]:
    """Blocks of a page that are run in a project."""
    if page in FOLLOWED:
        return []
    return [
        block
        for block in PAGES[page]
        if block.language in (*SHELLS, "python") and not block.not_run
    ]


# --- Without running ------------------------------------------------------------------------------


@pytest.mark.unit
def test_every_block_says_what_it_is() -> None:
    fences = sum(path.read_text("utf-8").count("```") for path in pages())
    assert fences == 2 * sum("\n" in block.code for block in ALL)
    known = (*SHELLS, "python", "yaml", "json", *NO_CODE, *CLIENTS)
    assert [f"{block}: {block.language}" for block in ALL if block.language not in known] == []


@pytest.mark.unit
def test_blocks_that_no_test_runs_are_few_and_say_why() -> None:
    assert Counter(block.not_run for block in ALL if block.not_run) == NOT_RUN
    assert all(block.not_run for block in of_language(*CLIENTS))
    for test in FOLLOWED.values():
        assert (ROOT / "tests" / test).is_file()


@pytest.mark.unit
@pytest.mark.parametrize("block", of_language(*SHELLS), ids=str)
def test_a_shells_block_is_one_for_every_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    if block.page not in FOLLOWED and "#SBATCH" not in block.code:
        assert block.for_some_shells_only() == []


@pytest.mark.unit
def test_data_and_python_can_be_read() -> None:
    for block in of_language("python"):
        ast.parse(block.code, str(block))
    for block in of_language("json"):
        json.loads(block.code)
    for block in of_language("yaml"):
        assert isinstance(yaml.safe_load(block.code), dict), block


@pytest.mark.unit
@pytest.mark.parametrize("modality", MODALITIES)
def test_the_page_about_data_has_every_layout_of_the_projects(modality: str) -> None:
    def first_cells(text: str) -> set[str]:
        rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
        return {cell.removeprefix("| ") for row in rows for cell in row[:2] if "`" in cell}

    parts = (overlay(modality) / "_parts" / "your_data.md").read_text("utf-8")
    table = parts.partition("layout | read as |")[2].split("\n\n")[0]
    layouts = {cell for cell in first_cells(table) if re.match(r"`[^`]*[./:]", cell)}
    assert len(layouts) >= 5
    assert layouts <= first_cells((ROOT / "docs" / "own-data.md").read_text("utf-8"))


def messages(folder: Path) -> Iterator[str]:
    """Every text of a package, `…` standing for what differs."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.unit
def test_symptoms_are_what_the_programs_print() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8")
    symptoms = re.findall(r"^\| `(.+?)` \|", page, re.MULTILINE)
    assert len(symptoms) > 50
    printed = [text for part in ("template", "generator") for text in messages(ROOT / part)]
    # what two texts make together is quoted with `…` between them
    everything = "\n".join(printed)
    for symptom in symptoms:
        parts = [part for part in symptom.split("…") if len(part.strip(" .:;")) > 2]
        assert parts, symptom
        longest = max(parts, key=len)
        whole = ".*".join(map(re.escape, parts))
        assert longest in everything, symptom
        assert any(re.search(whole, text, re.DOTALL) for text in printed), symptom


def test_the_page_of_settings_is_up_to_date(template_folder: Path, tmp_path: Path) -> None:
    """`uv run python tests/settings_page.py` writes it."""
    assert settings_page.page(template_folder, tmp_path) == settings_page.PAGE.read_text("utf-8")


# --- In a project ---------------------------------------------------------------------------------

CHECK = """
import json, sys
from importlib import import_module
from {package}.config import TrainingConfig
for name, code in json.load(open(sys.argv[1])).items():
    open("settings.yaml", "w").write(code)
    try:
        TrainingConfig.load("settings.yaml")
        print(name)
    except ValueError as error:
        print(name, error, file=sys.stderr)
"""


@pytest.fixture(scope="session")
def projects(template_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The projects that the pages speak of, by their command; do not change them."""
    folder = tmp_path_factory.mktemp("documents")
    return {
        program: render(
            template_folder,
            folder / program,
            {"modality": modality, "project_name": program.title()},
        )
        for program, modality in PROJECTS.items()
    }


@pytest.mark.integration
def test_settings_are_settings_of_a_project(projects: dict[str, Path], tmp_path: Path) -> None:
    given = {str(block): block.code for block in of_language("yaml") if not block.not_run}
    (tmp_path / "blocks.json").write_text(json.dumps(given), "utf-8")
    accepted, said = set(), ""
    for program, project in projects.items():
        done = subprocess.run(
            [sys.executable, "-c", CHECK.format(package=program), tmp_path / "blocks.json"],
            cwd=project / "src",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        accepted |= set(done.stdout.split())
        said += done.stderr
    assert accepted == set(given), said


@pytest.fixture(scope="session")
def trained(
    projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, WarmProcess]]:
    """The project `leaves` as it is after the first day, and what runs its commands."""
    folder = tmp_path_factory.mktemp("reader")
    project = shutil.copytree(projects["leaves"], folder / "leaves")
    environment = {"OMP_NUM_THREADS": "1", "TORCH_HOME": str(torch_home(folder))} | UNMEASURED
    with WarmProcess(project / "src", "leaves", folder / "leaves.log", environment) as process:
        quick(project)
        process.run(project, "data", "sample")
        thin_out(project / "data")
        for _ in range(2):  # the report compares runs
            process.run(project, "train")
        process.run(project, "export", "--export_formats", "onnx")
        shutil.copytree(project / "data", project / "photos")
        shutil.copyfile(sample_input(project), project / "photo.jpg")
        [network] = [b for b in PAGES["own-model.md"] if "def build(" in b.code]
        (project / "my_model.py").write_text(network.code, "utf-8")
        yield project, process


@pytest.mark.integration
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else [])
        for page in PAGES
        if run_here(page)
    ],
)
def test_what_a_page_says(page: str, trained: tuple[Path, WarmProcess], tmp_path: Path) -> None:
    original, process = trained
    project = shutil.copytree(original, tmp_path / "leaves")
    reader = Reader(project, process, project)
    for block in run_here(page):
        reader.follow(block)


# --- The site -------------------------------------------------------------------------------------


class Requests(HTMLParser):
    """Addresses that a browser asks for when it shows a page; links are followed by people."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what a tag loads."""
        names = {"link": "href"}.get(tag, "src")
        self.found += [value for name, value in attrs if name == names and value and tag != "a"]


@pytest.mark.integration
def test_the_site_builds_and_asks_no_other_host(tmp_path: Path) -> None:
    """A warning, such as a link to nothing, is an error."""
    site = tmp_path / "site"
    strict = ("-q", "-W", "--keep-going")
    command = [sys.executable, "-m", "sphinx", *strict, str(ROOT / "docs"), str(site)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = sorted(site.glob("*.html"))
    assert {path.stem for path in built} >= {path.stem for path in (ROOT / "docs").glob("*.md")}
    for path in built:
        requests = Requests()
        requests.feed(path.read_text("utf-8"))
        assert requests.found
        assert [one for one in requests.found if re.match(r"(https?:)?//", one)] == []
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']*", text) == []
