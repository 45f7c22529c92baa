"""Someone who types what a document says, in a project that is rendered and trained."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from documents import Block
from torchvision.models import ResNet18_Weights, resnet18
from warm import WarmProcess


def package(project: Path) -> str:
    """The name of a project's package."""
    return next(path.name for path in (project / "src").iterdir() if path.is_dir())


def sample_input(project: Path) -> Path:
    """One input of the sample set, whatever its layout."""
    files = [path for path in sorted((project / "data").rglob("*")) if path.is_file()]
    inputs = [path for path in files if path.suffix in {".png", ".txt", ".wav"}]
    if inputs:
        return inputs[len(inputs) // 2]
    [table] = [path for path in files if path.stem == "val"]
    if table.suffix == ".jsonl":
        snippet = project / "snippet.txt"
        snippet.write_text(json.loads(table.read_text("utf-8").splitlines()[0])["text"], "utf-8")
        return snippet
    with table.open(newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    (project / "row.json").write_text(json.dumps(row), "utf-8")
    return project / "row.json"


def newest(folder: Path, place: int = 0) -> Path:
    """The newest of the runs, or of the bundles, in a folder; or one so many places before it."""
    folders = [path for path in folder.iterdir() if path.is_dir()]  # bench leaves pictures beside
    return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)[place]


def settings(project: Path, **values: Any) -> None:
    """Change settings in the configuration file."""
    path = project / "config.yaml"
    config = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump(config | values), "utf-8")


def quick(project: Path) -> None:
    """Let every training end after two steps, and without a bundle."""
    settings(project, max_steps=2, batch_size=8, num_workers=0, export_bundle=False)


def thin_out(folder: Path) -> None:
    """Leave one image or sound in sixteen: a large network looks at each of them."""
    files = [path for path in folder.rglob("*") if path.suffix in {".png", ".wav"}]
    for number, file in enumerate(sorted(files)):
        if number % 16:
            file.unlink()


def own_data(project: Path, place: str) -> None:
    """Data of the reader's own: some of the sample set, a folder or a table of species."""
    if suffix := Path(place).suffix:
        header, rows = (project / "data" / f"train{suffix}").read_text("utf-8").split("\n", 1)
        (project / place).write_text(f"{header.replace('label', 'species')}\n{rows}", "utf-8")
        return
    shutil.copytree(project / "data", project / place)
    thin_out(project / place)


def own_network(project: Path, file: str, builder: str) -> None:
    """A network of the reader's own: the built-in one under another name."""
    source = (project / "src" / package(project) / "model.py").read_text("utf-8")
    assert "def build_model(" in source
    (project / file).write_text(source.replace("def build_model(", f"def {builder}("), "utf-8")


def torch_home(folder: Path) -> Path:
    """A folder in which torch finds weights of the documents' network as if it had fetched them."""
    weights = ResNet18_Weights.DEFAULT
    torch.manual_seed(0)
    home = folder / "torch"
    (home / "hub" / "checkpoints").mkdir(parents=True)
    place = home / "hub" / "checkpoints" / weights.url.rpartition("/")[2]
    torch.save(resnet18().state_dict(), place)
    return home


@dataclass
class Reader:
    """Types commands in a project.

    Attributes:
        project: its folder.
        process: in which its package is imported.
        cwd: the folder they are in.
    """

    project: Path
    process: WarmProcess
    cwd: Path

    def follow(self, block: Block) -> None:
        """Run a block of a document; fails with what was printed."""
        if block.language == "python":
            script = self.project / "typed.py"
            script.write_text(block.code, "utf-8")
            self.process.run_script(script, cwd=self.project)
            return
        for command in block.commands():
            self.type(command)
        self.cwd = self.project

    def type(self, command: str) -> None:
        """Run a line of a shell."""
        match self.words(command):
            case ["uv", "run", "torchrun", *options]:
                self.start("torch.distributed.run", options)
            case ["uv", "run", _, *options] if "--devices" in options:
                self.start(package(self.project), options)
            case ["uv", "run", program, *options] if program == self.program:
                self.process.run(self.cwd, *options)
            case ["uv", "run", "python", script, *options]:
                self.process.run_script(self.cwd / script, *options, cwd=self.cwd)
            case ["cd", folder]:
                self.cwd = self.cwd / folder
            case words:
                done = subprocess.run(words, cwd=self.cwd, capture_output=True, text=True)
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    def words(self, command: str) -> list[str]:
        """A command's words, with the names of the newest run, the one before and bundle put in."""
        for placeholder, folder, place in (
            ("RUN", "runs", 0),
            ("OTHER", "runs", 1),
            ("BUNDLE", "exports", 0),
        ):
            if re.search(rf"\b{placeholder}\b", command):
                name = newest(self.project / folder, place).name
                command = re.sub(rf"\b{placeholder}\b", name, command)
        return shlex.split(command)

    @property
    def program(self) -> str:
        """The project's command."""
        return package(self.project).replace("_", "-")

    def start(self, module: str, options: list[str]) -> None:
        """Run a command that starts this program once more for each process."""
        before = set((self.project / "runs").iterdir())
        environment = os.environ | {
            "PYTHONPATH": str(self.project / "src"),
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", module, *options],
            cwd=self.cwd,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{options}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
        [made] = set((self.project / "runs").iterdir()) - before  # one run comes of it
        rows = (made / "metrics.csv").read_text("utf-8").splitlines()
        assert len(rows) == 1 + 2 + 1  # a header, two steps, a validation
