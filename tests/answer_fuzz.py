"""Makes projects from random answers and looks at what comes of them.

    python tests/answer_fuzz.py --count 1000 --seed 0

`tp35 new` of the wheel is run with each set of answers. It is refused in one line, or the answers
are recorded as they were given, every file parses, the metadata are such as a build backend takes,
and the project's own lint finds nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import keyword
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml
from answer_space import MODALITIES
from copier_once import do_nothing_twice
from project_checks import PARSERS, portability_problems
from rendering import ROOT

Answers = dict[str, str]

LINTED_TOGETHER = 60  # projects; a project has 300 files
BUILT = 5  # projects of which a wheel is built

# --- answers ------------------------------------------------------------------------------------

WORDS = (
    "Leaf",
    "classifier",
    "of",
    "größere",
    "日本",
    "Ünal's",
    "été",
    "3D",
    "שלום",
    "v2.0",
    "👩‍🔬",
    "é",
)
# What some parser on the way takes for more than text.
SYNTAX = (
    *("{{ x }}", "{% raw %}", "{#", "#}", "}}", "${HOME}", "%s %(x)s", "$(true)", "`id`", "\\"),
    *("\\u00", '"', "'", '"""', "'''", "]]>", "<!--", "-->", "<script>", "&amp;", "- a: [b, *c]"),
    *("!!python/object", ": ", " #", "---", "...", "&a *a", "{a: b}", "[table]", 'x = "y"'),
    *("| a | b |", "```", "# ", "%YAML", "null", "~", "yes", "0x1F", "1e3", "2020-01-01", ".inf"),
    *("=", "<<", "@", "?", "  ", "\\n", "\\", "\\x"),
)  # fmt: skip
CONTROLS = (
    *("\n", "\r", "\t", "\x00", "\x1b[31m", "\x7f", "\x85", "\x9b", "\u2028", "\u2029", "\u202e"),
    *("\u2066", "\ud800", "\udcff", "\ufeff", "\uffff"),
)
NAMES = (
    *("", "_", "__init__", "__main__", "_x", "x_", "x__y", "-x", "x-", "x--y", "2d", "X", "a.b"),
    *("a/b", "../a", "con", "nul", "aux", "COM1", "lpt9", "tests", "data", "runs", "exports"),
    *("src", "notebooks", "payloads", "torch", "yaml", "PIL", "pillow", "scikit-learn"),
    *("requests", "json", "class", "async", "match", "None", "pip", "uv", "python", "git"),
    *("test", "site", "größe", "x\n", " x", "x ", "x y", "\uff58", "ﬁt"),
)  # fmt: skip
LENGTHS = (1, 2, 39, 40, 41, 60, 61, 100, 101, 200, 201, 300, 512, 513, 5000)
EMAILS = ("", "ada@example.org", "a'b+{c}@müller-x.example")
NO_EMAILS = (
    "a@b",
    "a@@b.c",
    'a"@b.c',
    "a b@c.d",
    "a@b.c\n",
    "a..b@c.d",
    "a\\@b.c",
    "a" * 250 + "@b.c",
)
NUMBERS = ("1", "4", " 4 ", "+2", "1000000")
NO_NUMBERS = ("", "0", "-1", "1e3", "4.0", "four", "٤", "1_0", "1000001", "9" * 30, "9" * 5000)
BOOLEANS = ("true", "no", "Y", "1", "TRUE", " on")
NO_BOOLEANS = ("", "maybe", "2", "null", "[]")
LISTS = (
    *("[]", "", "[[{0}]]", "{{}}", "*{0}", "!!python/name:os {0}", "[2020-13-45]", "[{0}"),
    *("null", "[null]", "{0}\n", "'{0}", "{0}: 1", "[" * 3000),
)  # fmt: skip
FORMATS = ("onnx", "torchscript", "pytorch", "pt2")
TRACKERS = ("wandb", "tensorboard", "mlflow")
CHOICES = {
    "license": ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"),
    "ci": ("github", "gitlab", "none"),
    "compile_mode": ("none", "auto", "default", "reduce-overhead", "max-autotune"),
}


def _mostly(right: Sequence[str], wrong: Sequence[str], chance: random.Random) -> str:
    return chance.choice(right if chance.random() < 0.8 else wrong)


def _plain(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 6)))


def _text(chance: random.Random) -> str:
    """A text that some parser on its way may misread."""
    kinds: tuple[Callable[[], str], ...] = (
        lambda: "".join(chance.choices(SYNTAX, k=chance.randint(1, 6))),
        lambda: " ".join(chance.choices((*WORDS, *SYNTAX), k=chance.randint(1, 8))),
        lambda: "".join(chr(chance.randrange(0x20, 0x3000)) for _ in range(chance.randint(1, 30))),
        lambda: "".join(chr(chance.randrange(0x20, 0x110000)) for _ in range(3)),
        lambda: (_plain(chance) + " ") * 400,
        lambda: chance.choice((*WORDS, "x", '"', "\\", " ")) * chance.choice(LENGTHS),
        lambda: _plain(chance) + chance.choice(CONTROLS),
        lambda: chance.choice(CONTROLS) + _plain(chance),
        lambda: chance.choice(("", " ", "\u3000", *NAMES)),
    )
    length = chance.choice(LENGTHS) if chance.random() < 0.5 else None
    return chance.choice(kinds)()[:length]


def _name(chance: random.Random) -> str:
    letters = "".join(chance.choices("abcxyz019_", k=chance.choice(LENGTHS)))
    wrong = (chance.choice(NAMES), letters, letters.replace("_", "-"))
    return _mostly((f"a{letters[:39]}", "leaves", "a"), wrong, chance)


def _several(offered: Sequence[str], chance: random.Random) -> str:
    if chance.random() < 0.2:
        return chance.choice(LISTS).format(offered[0])
    chosen = ", ".join(chance.choices(offered, k=chance.randint(1, 5)))
    return chance.choice((chosen, f"[{chosen}]", f"['{chosen}']" if "," not in chosen else chosen))


def _one(offered: Sequence[str], chance: random.Random) -> str:
    right = chance.choice(offered)
    wrong = ("", right.upper(), f"{right} ", f"{right}\n", f"[{right}]", "null")
    return _mostly((right,), wrong, chance)


def random_answers(chance: random.Random) -> Answers:
    """Some answers, as they are given on the command line; about half of the sets can be taken."""
    modality = chance.choice(sorted(MODALITIES))
    answers = {"modality": modality}
    drawn: dict[str, Callable[[], str]] = {
        "project_name": lambda: _text(chance),
        "project_slug": lambda: _name(chance),
        "package_name": lambda: _name(chance),
        "description": lambda: _text(chance),
        "author_name": lambda: _text(chance),
        "author_email": lambda: _mostly(EMAILS, NO_EMAILS, chance),
        "task": lambda: _one(MODALITIES[modality]["tasks"], chance),
        "gradient_accumulation_steps": lambda: _mostly(NUMBERS, NO_NUMBERS, chance),
        "compile_fullgraph": lambda: _mostly(BOOLEANS, NO_BOOLEANS, chance),
        "export_bundle": lambda: _mostly(BOOLEANS, NO_BOOLEANS, chance),
        "notebook": lambda: _mostly(BOOLEANS, NO_BOOLEANS, chance),
        "export_formats": lambda: _several(FORMATS, chance),
        "trackers": lambda: _several(TRACKERS, chance),
        **{key: partial(_one, offered, chance) for key, offered in CHOICES.items()},
    }
    for key in chance.sample(sorted(drawn), k=chance.randint(1, 4)):
        answers[key] = drawn[key]()
    for key in ("project_name", "description", "author_name"):
        if key not in answers and chance.random() < 0.3:
            answers[key] = _plain(chance)
    return answers


# --- projects -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What became of a set of answers.

    Attributes:
        answers: as they were given.
        project: that was made; None where the answers were refused.
        refused: what was said then.
        complaints: about either.
    """

    answers: Answers
    project: Path | None
    refused: str
    complaints: list[str]


def use_wheel(site: Path) -> None:
    """Take `tp35` from an unpacked wheel in this process."""
    sys.path.insert(0, str(site))
    from tp35 import template

    if template.root() != site / "tp35" / "_template":
        raise RuntimeError(f"{template.root()} is not the template of the wheel in {site}")
    do_nothing_twice(pytest.MonkeyPatch())


def make(answers: Answers, project: Path) -> Outcome:
    """Run `tp35 new` in this process, and look at all but the lint."""
    from tp35 import cli

    data = [part for key, value in answers.items() for part in ("--data", f"{key}={value}")]
    sys.argv = ["tp35", "new", str(project), "--quiet", "--defaults", *data]
    said = io.StringIO()
    code: object = None
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
    message = said.getvalue()
    if code == 0:
        complaints = [f"said {message!r}"] if message else []
        return Outcome(answers, project, "", complaints + list(_complaints(project, answers)))
    complaints = []
    if code != 2 or not message.startswith("tp35: ") or message.count("\n") != 1:
        complaints.append(f"was refused with {code}: {message!r}")
    if not message.strip("\n").isprintable() or len(message) > 500:
        complaints.append(f"was refused with what does not print in a line: {message[:1000]!r}")
    if project.exists():
        complaints.append("was refused and made all the same")
    return Outcome(answers, None, message, complaints)


_parsed: set[str] = set()  # digests of files that parse: most are the same in many projects


def _complaints(project: Path, answers: Answers) -> Iterator[str]:
    recorded = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    for key in ("project_name", "description", "author_name", "author_email"):
        if recorded[key] != answers.get(key, recorded[key]):
            yield f"{key} is recorded as {recorded[key]!r}"
    package = recorded["package_name"]
    if not package.isidentifier() or keyword.iskeyword(package):
        yield f"{package!r} cannot be imported"
    if not (project / "src" / package / "cli.py").is_file():
        yield f"src/{package} is not its package"
    yield from portability_problems(project)
    for path in sorted(project.rglob("*")):
        if path.suffix not in PARSERS or not path.is_file():
            continue
        content = path.read_bytes()
        digest = hashlib.sha256(path.suffix.encode() + content).hexdigest()
        if digest in _parsed:
            continue
        try:
            PARSERS[path.suffix](content.decode("utf-8"))
        except (SyntaxError, ValueError, yaml.YAMLError) as error:
            yield f"{path.relative_to(project)} does not parse: {error}"
        else:
            _parsed.add(digest)
    yield from _metadata_complaints(project, recorded["project_slug"])


def _metadata_complaints(project: Path, slug: str) -> Iterator[str]:
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.metadata.spec import (
        DEFAULT_METADATA_VERSION,
        get_core_metadata_constructors,
    )
    from hatchling.plugin.manager import PluginManager
    from packaging.metadata import Metadata

    construct = get_core_metadata_constructors()[DEFAULT_METADATA_VERSION]
    try:
        written = construct(ProjectMetadata(str(project), PluginManager()))
        metadata = Metadata.from_email(written.encode(), validate=True)
    except (ValueError, TypeError, ExceptionGroup) as error:
        yield f"has no valid metadata: {error!r}"
    else:
        if metadata.name != slug:
            yield f"is called {metadata.name!r} in its metadata"


# --- together -----------------------------------------------------------------------------------


def lint(projects: Sequence[Path]) -> list[str]:
    """What ruff says of projects, each under its own rules."""
    found: list[str] = []
    for command in (("format", "--check"), ("check", "--output-format=concise")):
        ruff = [
            sys.executable,
            "-m",
            "ruff",
            *command,
            "--no-cache",
            "--quiet",
            *map(str, projects),
        ]
        done = subprocess.run(ruff, capture_output=True, text=True)
        found += (done.stdout + done.stderr).splitlines()
    return found


def build(project: Path) -> list[str]:
    """Build a project's wheel and look for its package in it."""
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        "dist",
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    if done.returncode:
        return [f"{project.name} cannot be built: {done.stderr}"]
    [built] = (project / "dist").iterdir()
    [package] = (project / "src").iterdir()
    if f"{package.name}/cli.py" not in zipfile.ZipFile(built).namelist():
        return [f"{built.name} does not hold {package.name}"]
    return []


def _unpacked(wheel: Path | None, folder: Path) -> Path:
    if wheel is None:
        subprocess.run(["uv", "build", "--quiet", "--out-dir", folder, ROOT], check=True)
        [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def fuzz(count: int, seed: int, wheel: Path | None, processes: int) -> int:
    """Try that many sets; prints what was found, and gives the exit code."""
    sets = [random_answers(random.Random(f"{seed}-{number}")) for number in range(count)]  # noqa: S311
    complaints, refusals, made = list[str](), Counter[str](), 0
    with (
        tempfile.TemporaryDirectory(prefix="tp35-fuzz-") as scratch,
        ProcessPoolExecutor(
            processes,
            multiprocessing.get_context("spawn"),
            initializer=use_wheel,
            initargs=(_unpacked(wheel, Path(scratch)),),
        ) as pool,
    ):
        for start in range(0, count, LINTED_TOGETHER):
            batch = list(enumerate(sets))[start : start + LINTED_TOGETHER]
            folders = [Path(scratch) / "projects" / f"p{number}" for number, _ in batch]
            outcomes = list(pool.map(make, (answers for _, answers in batch), folders))
            for (number, answers), outcome in zip(batch, outcomes, strict=True):
                told = json.dumps(answers)
                complaints += [f"set {number} {said}: {told}" for said in outcome.complaints]
                refusals[outcome.refused.removeprefix("tp35: ").partition(":")[0]] += 1
            projects = [outcome.project for outcome in outcomes if outcome.project]
            complaints += lint(projects) if projects else []
            for project in projects[: max(0, BUILT - made)]:
                complaints += build(project)
            made += len(projects)
            shutil.rmtree(Path(scratch) / "projects", ignore_errors=True)
    del refusals[""]
    print("\n".join(complaints))
    print(f"{count} sets with seed {seed}: {made} projects made, {count - made} refused")
    print(", ".join(f"{key} {number}" for key, number in refusals.most_common()))
    return 1 if complaints else 0


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000, help="sets (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random answers (default: 0)")
    parser.add_argument("--wheel", type=Path, help="to test (default: built of the working tree)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return fuzz(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
