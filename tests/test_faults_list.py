"""The list of faults fits the product: every line is there once, and every package has a fault."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest
from answer_space import MODALITIES
from faults import Fault, modalities, place, product_files, read_faults
from project_checks import PARSERS
from rendering import ROOT

pytestmark = pytest.mark.unit

FILES = product_files(ROOT)
FAULTS = read_faults()


def package(path: str) -> str | None:
    """The package of a rendered project in which a file lies; empty for the outermost."""
    inside = re.fullmatch(r"template/.*?\{\{package_name\}\}/(?:([^/]+)/)?.*\.py", path)
    return (inside[1] or "") if inside else None


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_one_line_of_the_product(fault: Fault) -> None:
    path = place(fault, FILES)
    counts = {path: text.count(fault.before) for path, text in FILES.items()}
    assert path is not None, {path: count for path, count in counts.items() if count}
    before = FILES[path].split("\n")
    faulty = FILES[path].replace(fault.before, fault.after)
    after = faulty.split("\n")
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    PARSERS[PurePosixPath(path).suffix](faulty)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_names_tests_that_are_there(fault: Fault) -> None:
    """Otherwise whole suites run before the one that finds it; older names may stand beside."""
    in_template = (place(fault, FILES) or "").startswith("template/")
    paths = (ROOT / "template").rglob("test_*") if in_template else (ROOT / "tests").glob("test_*")
    assert {path.name.removesuffix(".jinja") for path in paths} & set(fault.tests)


def test_the_list_is_long_and_covers_every_package() -> None:
    paths = [place(fault, FILES) or "" for fault in FAULTS]
    assert len(FAULTS) == len({fault.name for fault in FAULTS}) >= 40
    assert sum(path.startswith("template/") for path in paths) >= 25
    packages = {package(path) for path in FILES}
    assert {package(path) for path in paths} >= packages - {None}
    assert {"data", "export", "serving", "training"} <= packages
    assert {path.partition("/")[0] for path in paths} == {
        "copier.yml",
        "generator",
        "hooks",
        "template",
    }


def test_a_line_that_is_gone_or_stands_twice_is_not_there() -> None:
    fault = Fault("name", "file", "x = 1", "x = 2", ())
    assert place(fault, {"a": "y\n", "b": "x = 1\n"}) == "b"
    assert place(fault, {"a": "y\n"}) is None
    assert place(fault, {"a": "x = 1\nx = 1\n"}) is None
    assert place(fault, {"a": "x = 1\n", "b": "x = 1\n"}) is None


def test_the_folder_says_which_projects_have_a_file() -> None:
    assert modalities("template/src/{{package_name}}/cli.py") == tuple(MODALITIES)
    overlays = {modalities(path) for path in FILES if path.startswith("template/")}
    assert overlays == {tuple(MODALITIES), *((name,) for name in MODALITIES)}
