"""Rendered projects do their job: lint, types, their own tests, training, export, inference.

These are the expensive gates. Python files do not depend on the answers (a test below holds the
template to that), so types and the project's own tests are judged once per modality; training,
export and inference run with every answer, and in the slow set with every three together.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import coverage
import pytest
import yaml
from answer_space import (
    FORMATS,
    GATES,
    MODALITIES,
    TRACKERS,
    Answers,
    Row,
    answers,
    covering_array,
    name,
    overlay,
)
from conftest import Tp35
from documents import blocks
from packaging.requirements import Requirement
from reader import (
    Reader,
    newest,
    own_data,
    own_network,
    package,
    quick,
    sample_input,
    settings,
    torch_home,
)
from rendering import ROOT, UNMEASURED, commit_all, git, render, started
from warm import PLAIN, WarmProcess

pytestmark = pytest.mark.integration

EVERY_ANSWER = covering_array(GATES, 1)
PAIRWISE = covering_array(GATES, 2)
THREEWISE = [row for row in covering_array(GATES, 3) if row not in EVERY_ANSWER]

# Enough for every phase of a run, and quick.
SHORT = ["--max_steps", "3", "--batch_size", "8", "--num_workers", "0"]


def named(chosen: Answers) -> Answers:
    """With a package name by which coverage finds the modality (see pyproject.toml)."""
    modality = chosen.get("modality", "vision")
    return {**chosen, "project_name": f"{modality.title()} Project"}


@pytest.fixture(scope="session")
def compile_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of compiled kernels for all tests, whichever worker runs them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "inductor").mkdir(exist_ok=True)
    return folder / "inductor"


def run(
    project: Path,
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run Python in a project that is not installed; fails with its output."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd or project,
        env=os.environ
        | {"PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"}
        | dict(env or {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def train_and_export(project: Path, process: WarmProcess) -> Path:
    """What a user does on the first day; gives the bundle."""
    process.run(project, "train", *SHORT, "--export_bundle", "false")
    process.run(project, "export")
    return newest(project / "exports")


def ask_bundle(project: Path, bundle: Path, process: WarmProcess, *options: str) -> None:
    """Let the bundle, which export has verified, predict two inputs from another folder."""
    script = bundle / "inference.py"
    given = str(sample_input(project))
    asking = [*options, "--input", given, given]
    printed = process.run_script(script, *asking, cwd=project.parent)
    lines = [json.loads(line) for line in printed.strip().splitlines()]
    assert len(lines) == 2
    assert lines[0].keys() == lines[1].keys()
    assert lines[0].keys() > {"input"}


@pytest.fixture(scope="session")
def projects(template_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The default project of every modality; do not change it."""
    folder = tmp_path_factory.mktemp("projects")
    return {
        modality: render(template_folder, folder / modality, named({"modality": modality}))
        for modality in MODALITIES
    }


@pytest.fixture(scope="session")
def warm(
    projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, compile_cache: Path
) -> Iterator[dict[str, WarmProcess]]:
    """For every modality a process that has imported its package."""
    folder = tmp_path_factory.mktemp("warm")
    # the projects' own tests run the same files, and are measured
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(compile_cache), "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HOME": str(folder / "huggingface")} | UNMEASURED
    environment["TORCH_HOME"] = str(torch_home(folder))
    environment["SAMPLE_SETS"] = str(compile_cache.parent / "samples")
    with ExitStack() as stack:
        processes = {}
        for modality, project in projects.items():
            process = WarmProcess(
                project / "src", package(project), folder / f"{modality}.log", environment
            )
            processes[modality] = stack.enter_context(process)
        yield processes


@pytest.fixture(scope="session")
def sample_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sample set of every task is kept once it was written."""
    return tmp_path_factory.mktemp("samples")


def first_day(row: Row, project: Path, process: WarmProcess, sample_sets: Path) -> None:
    """Train and export by one command, then ask the bundle."""
    chosen = answers(row)
    kept = sample_sets / chosen["task"]
    if kept.exists():
        shutil.copytree(kept, project / "data", copy_function=os.link)
    process.run(project, "train", *SHORT, "--export_bundle", "true")
    if not kept.exists():
        shutil.copytree(project / "data", kept)
        for number, path in enumerate(sorted(kept.rglob("*.txt"))):
            if number % 5:  # a fifth of the texts is enough for the others
                path.unlink()
    bundle = newest(project / "exports")
    metadata = (bundle / "metadata.json").read_text("utf-8")
    assert str(project.parent) not in metadata
    ask_bundle(project, bundle, process, "--format", chosen["export_formats"][0])


@pytest.mark.parametrize("row", EVERY_ANSWER, ids=name)
def test_train_export_infer(
    row: Row,
    template_folder: Path,
    tmp_path: Path,
    warm: dict[str, WarmProcess],
    sample_sets: Path,
) -> None:
    project = render(template_folder, tmp_path / "p", named(answers(row)))
    first_day(row, project, warm[row["task"][0]], sample_sets)


@pytest.mark.slow
@pytest.mark.parametrize("row", THREEWISE, ids=name)
def test_train_export_infer_threewise(
    row: Row,
    template_folder: Path,
    tmp_path: Path,
    warm: dict[str, WarmProcess],
    sample_sets: Path,
) -> None:
    project = render(template_folder, tmp_path / "p", named(answers(row)))
    first_day(row, project, warm[row["task"][0]], sample_sets)


# --- What people are told to type -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("modality", "leaving_out"),
    [
        # the gate starts several processes in tests of their own
        ("vision", re.compile("torchrun|--devices")),
        *(pytest.param(modality, None, marks=pytest.mark.slow) for modality in MODALITIES),
    ],
    ids=["some of vision", *MODALITIES],
)
def test_what_the_readme_says(
    modality: str,
    leaving_out: re.Pattern[str] | None,
    template_folder: Path,
    tmp_path: Path,
    warm: dict[str, WarmProcess],
) -> None:
    project = render(template_folder, tmp_path / "p", named({"modality": modality}))
    quick(project)
    readme = (project / "README.md").read_text("utf-8")
    first, *others = [
        block
        for block in blocks(project / "README.md")
        if block.language == "sh" and not block.not_run
    ]
    reader = Reader(project, warm[modality], project)
    settings(project, export_bundle=True)  # as the answers have it
    reader.follow(first)
    settings(project, export_bundle=False)
    [place] = set(re.findall(r"data check --data ([\w.]+)", readme))
    own_data(project, place)
    [(file, builder)] = set(re.findall(r"--model (\w+\.py):(\w+)", readme))
    own_network(project, file, builder)
    [given] = re.findall(r"--input (\S+)", readme)
    if given != place:  # a table of one's own is an input as it is
        shutil.copyfile(sample_input(project), project / given)
    assert [f"uv run {modality}-project train"] == list(first.commands())
    assert sum(len(list(block.commands())) for block in others) >= 10
    for block in others:
        if leaving_out is None or not leaving_out.search(block.code):
            reader.follow(block)


def test_commands_of_a_readme_are_for_every_shell(projects: dict[str, Path]) -> None:
    for project in projects.values():
        found = blocks(project / "README.md")
        fences = (project / "README.md").read_text("utf-8").count("```")
        assert fences == 2 * sum("\n" in block.code for block in found)
        assert {block.language for block in found} == {"sh", "yaml"}
        for block in found:
            if block.language == "sh" and block.not_run != "needs SLURM":
                assert block.for_some_shells_only() == [], block


@pytest.mark.parametrize("modality", ["vision", pytest.param("text", marks=pytest.mark.slow)])
def test_the_notebook(
    modality: str, template_folder: Path, tmp_path: Path, compile_cache: Path
) -> None:
    chosen = named({"modality": modality, "notebook": True})
    project = render(template_folder, tmp_path / "p", chosen)
    quick(project)
    notebook = json.loads((project / "notebooks" / "quickstart.ipynb").read_text("utf-8"))
    cells = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    lines = "\n".join("".join(cell) for cell in cells).splitlines()
    [install] = [line for line in lines if line.startswith("%pip install -q .")]
    lines.remove(install)  # the tests' environment has it all
    script = project / "notebooks" / "quickstart.ipy"
    script.write_text("\n".join(lines), "utf-8")
    environment = {
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "TORCHINDUCTOR_CACHE_DIR": str(compile_cache),
    }
    printed = run(project, "-m", "IPython", script, cwd=script.parent, env=environment)
    assert json.loads(printed.strip().splitlines()[-1]).keys() > {"input"}


@pytest.mark.parametrize("modality", MODALITIES)
def test_python_files_do_not_depend_on_the_answers(
    modality: str, template_folder: Path, tmp_path: Path
) -> None:
    trees = []
    for number, row in enumerate(row for row in PAIRWISE if row["task"][0] == modality):
        project = render(template_folder, tmp_path / str(number), named(answers(row)))
        trees.append(
            {
                path.relative_to(project).as_posix(): path.read_bytes()
                for path in project.rglob("*.py")
            }
        )
    assert len(trees) > 1
    assert all(tree == trees[0] for tree in trees)


def test_types(projects: dict[str, Path], tmp_path: Path) -> None:
    cache = ("--cache-dir", tmp_path / "mypy")  # the libraries are read once for all modalities
    for project in projects.values():
        environment = {"MYPYPATH": str(project / "src")} | UNMEASURED
        run(project, "-m", "mypy", *cache, env=environment)


# Shared tests of code that does the same for every modality: they run for the first one, and for
# the others in the slow set.
SAME_FOR_ALL = {
    "test_accumulation.py",
    "test_activation_checkpointing.py",
    "test_averaging.py",
    "test_buffers.py",
    "test_commands.py",
    "test_compilation.py",
    "test_config.py",
    "test_devices.py",
    "test_distributed.py",
    "test_effective_steps.py",
    "test_evaluate.py",
    "test_export_bundle.py",
    "test_failures.py",
    "test_frozen_features.py",
    "test_healthcheck.py",
    "test_identity.py",
    "test_inference.py",
    "test_low_rank.py",
    "test_model_card.py",
    "test_optimizers.py",
    "test_precision.py",
    "test_pretrained.py",
    "test_report.py",
    "test_resume.py",
    "test_resume_at_random.py",
    "test_resume_changes.py",
    "test_rivals.py",
    "test_server.py",
    "test_server_clients.py",
    "test_server_process.py",
    "test_settings.py",
    "test_stopping.py",
    "test_trackers.py",
    "test_trivial.py",
    "test_trust.py",
    "test_tuning.py",
}
# What of these hangs on a modality's inputs and answers runs for every one: tests with these words.
OF_EVERY_MODALITY = {
    "test_accumulation.py": "not 22-settings0",
    "test_activation_checkpointing.py": "built_in",
    "test_commands.py": "grouped or imports_what",
    "test_config.py": "lists or documented",
    "test_evaluate.py": "same_numbers and not masked",
    "test_export_bundle.py": "documented or metadata_describes or parity_with",
    "test_frozen_features.py": "same_run or inputs_come_back",
    "test_inference.py": "tables or table_of_answers",
    "test_model_card.py": "hubs_library",
    "test_precision.py": "fewer_bits",
    "test_server.py": "answers or protocol or fit or bad_item or bodies or form or no_input",
    "test_settings.py": "[0] or [2]",
    "test_trivial.py": "not (bundle or everywhere)",
}
# What the gate runs of files that repeat for one name what they show for another: tests with these
# words. The slow set runs the whole file.
WITHOUT_REPEATS = {
    "test_averaging.py": "not as_in_one_process",
    "test_frozen_features.py": "not of_one_process",
    "test_low_rank.py": "not (corrections_compile or in_one_process)",
    "test_optimizers.py": "not in_one_process",
    "test_resume_at_random.py": "not [1]",
    "test_resume_changes.py": (
        "not (damaged and unlink or owed and (before1 or before3 or before5) or survive and "
        "(best-unlink or best-_zero or last-_truncate or last-_flip or previous-_))"
    ),
    "test_settings.py": "not [3]",
    "test_text_data.py": "not (sample_set_is_readable and masked_lm)",
    "test_text_inference.py": "not (every_format and text_classification)",
    "test_text_tokenizers.py": "not (it_trains and (unigram or byte-level))",
    "test_trackers.py": (
        "not (mlflow and (silent or has_ended or none_twice) or wandb and (silent or has_ended))"
    ),
    "test_tuning.py": "not (frozen_parts_compile or in_one_process)",
    "test_vision_mixing.py": "not killed_processes",
    "test_vision_networks.py": "not (catalogues or travels and (siblings or without))",
    "test_vision_pretrained.py": "not what_depends_on_the_classes",
    "test_vision_training.py": "not (other_tasks or resnet18)",
}
# Files of which every test is slow: two have tests of their own below, the others are run by hand.
SLOW_FILES = {
    "test_docker.py",
    "test_server_reliability.py",
    "test_text_training.py",
    "test_torchserve.py",
}


def _own_tests() -> Iterator[Any]:
    """Every test file of every modality's project."""
    for modality in MODALITIES:
        folders = (ROOT / "template" / "tests", overlay(modality) / "tests")
        found = {
            path.name.removesuffix(".jinja")
            for folder in folders
            for path in folder.glob("test_*.py.jinja")
        }
        for name_ in sorted(found - SLOW_FILES):
            once = name_ in SAME_FOR_ALL and modality != next(iter(MODALITIES))
            words = (OF_EVERY_MODALITY if once else WITHOUT_REPEATS).get(name_)
            marks = [pytest.mark.slow] if once or words else []
            yield pytest.param(modality, name_, "", marks=marks, id=f"{modality}-{name_}")
            if words:
                yield pytest.param(modality, name_, words, id=f"{modality}-some of {name_}")


@pytest.mark.parametrize(("modality", "file", "words"), list(_own_tests()))
def test_the_projects_own_tests(
    modality: str,
    file: str,
    words: str,
    projects: dict[str, Path],
    warm: dict[str, WarmProcess],
    compile_cache: Path,
) -> None:
    project = projects[modality]
    arguments = [f"tests/{file}", *(["-k", words] if words else [])]
    if coverage.Coverage.current() is None:
        warm[modality].run_tests(project, *arguments)
        return
    # what a forked process had imported before would count as never run
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(compile_cache)}
    run(project, "-m", "pytest", "-q", *PLAIN, *arguments, env=environment)


@pytest.mark.slow
@pytest.mark.timeout(5400)  # it installs an environment and holds a whole test run
@pytest.mark.parametrize("modality", MODALITIES)
def test_the_oldest_versions_it_allows(
    modality: str, template_folder: Path, tmp_path: Path
) -> None:
    """Every lower bound is a version with which the project's own tests pass."""
    chosen = {"modality": modality, "export_formats": list(FORMATS), "trackers": list(TRACKERS)}
    project = render(template_folder, tmp_path / "p", named(chosen))
    # a resolver that may choose takes later ones where the lowest need a search
    (tmp_path / "oldest.txt").write_text("\n".join(lower_bounds(project)), "utf-8")
    environment = project / ".venv" / "bin"
    bare = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    subprocess.run(
        ["uv", "-q", "venv", "--python", sys.executable], cwd=project, env=bare, check=True
    )
    install = ["uv", "-q", "pip", "install", "-c", str(tmp_path / "oldest.txt")]
    install += ["-e", ".", "--group", "dev"]
    subprocess.run(install, cwd=project, env=bare, check=True)
    bare |= {"PATH": f"{environment}{os.pathsep}{bare['PATH']}", "OMP_NUM_THREADS": "1"}
    command = [str(environment / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=project, env=bare, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


def lower_bounds(project: Path) -> Iterator[str]:
    """The lowest versions that a project allows, exactly; but for stubs, which nothing runs."""
    settings = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    groups = [settings["project"]["dependencies"], *settings["dependency-groups"].values()]
    for given in chain.from_iterable(groups):
        if isinstance(given, str):  # no group that is included
            requirement = Requirement(given)
            if not requirement.name.startswith("types-") and "-stubs" not in requirement.name:
                [lowest] = [one.version for one in requirement.specifier if one.operator == ">="]
                yield f"{requirement.name}=={lowest}"


def docker_problem() -> str | None:
    """Why there is no engine to test with, or None."""
    if shutil.which("docker") is None:
        return "docker is not installed"
    done = subprocess.run(["docker", "version"], capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def java_problem() -> str | None:
    """Why TorchServe cannot run, or None."""
    return None if shutil.which("java") else "Java is not installed"


SERVED = {"docker": docker_problem, "torchserve": java_problem}
# the others are as slow, and the same code but for what a modality reads
SERVED_BY_DEFAULT = [("vision", "docker"), ("text", "torchserve")]


@pytest.mark.timeout(1500)  # it holds a whole test run
@pytest.mark.parametrize(
    ("modality", "kind"),
    [
        pytest.param(
            modality_,
            kind_,
            marks=[
                getattr(pytest.mark, kind_),
                *([] if (modality_, kind_) in SERVED_BY_DEFAULT else [pytest.mark.slow]),
            ],
        )
        for kind_ in SERVED
        for modality_ in MODALITIES
    ],
)
def test_bundles_in_their_containers_and_behind_torchserve(
    modality: str, kind: str, projects: dict[str, Path]
) -> None:
    if reason := SERVED[kind]():
        pytest.skip(f"{kind}: {reason}")
    project = projects[modality]
    arguments = ["-q", *PLAIN, "-m", kind, f"tests/test_{kind}.py"]
    run(project, "-m", "pytest", *arguments, env=UNMEASURED)


@pytest.mark.parametrize(
    ("modality", "formats"),
    [
        ("vision", ["onnx"]),
        pytest.param("text", ["onnx"], marks=pytest.mark.slow),
        *(pytest.param(name_, list(FORMATS), marks=pytest.mark.slow) for name_ in MODALITIES),
    ],
    ids=str,
)
def test_a_bundle_needs_only_its_requirements(
    modality: str,
    formats: list[str],
    template_folder: Path,
    tmp_path: Path,
    warm: dict[str, WarmProcess],
) -> None:
    chosen = {"modality": modality, "export_formats": formats}
    project = render(template_folder, tmp_path / "p", named(chosen))
    bundle = train_and_export(project, warm[modality])
    moved = tmp_path / "elsewhere" / "bundle"
    shutil.copytree(bundle, moved)
    fresh = tmp_path / "fresh"
    python = fresh / "bin" / "python"
    subprocess.run(["uv", "-q", "venv", "--python", sys.executable, str(fresh)], check=True)
    target = ["--python", str(python), "-r", str(moved / "requirements.txt")]
    install = ["uv", "-q", "pip", "install", *target]
    subprocess.run(install, check=True)
    # Nothing of this environment, nor coverage, may help the bundle along.
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    given = str(sample_input(project))
    for arguments in (["--verify"], ["--input", given]):  # the first asks every format
        done = subprocess.run(
            [python, moved / "inference.py", *arguments],
            cwd=tmp_path,
            env=bare,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    if formats == ["onnx"]:
        torch = subprocess.run([python, "-c", "import torch"], capture_output=True)
        assert torch.returncode != 0


def test_refreshing_a_bundle_after_an_update(
    repository: Path, tmp_path: Path, warm: dict[str, WarmProcess], tp35: Tp35
) -> None:
    onnx = named({"export_formats": ["onnx"]})
    project = started(render(repository, tmp_path / "p", onnx, ref="HEAD"))
    bundle = train_and_export(project, warm["vision"])
    before = {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in (bundle / "artifacts").iterdir()
    }
    hashes = _hashes(bundle)

    serving = repository / "template" / "src" / "{{package_name}}" / "serving"
    mark = "# a later version of the template\n"
    for file in sorted(serving.glob("*.py")):
        file.write_text(file.read_text("utf-8") + mark, "utf-8")
    commit_all(repository)
    git("tag", "v1.1.0", cwd=repository)
    assert tp35("update", project).code == 0

    run(project, "-m", package(project), "export", "--refresh", bundle)
    assert (bundle / "server.py").read_text("utf-8").endswith(mark)
    assert {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in (bundle / "artifacts").iterdir()
    } == before
    after = _hashes(bundle)
    assert {path: after[path] for path in before} == {path: hashes[path] for path in before}
    assert after["server.py"] != hashes["server.py"]
    run(project, bundle / "inference.py", "--verify", cwd=tmp_path)


def _hashes(bundle: Path) -> dict[str, Any]:
    """The hash of every file by its path, as the bundle records it."""
    metadata = json.loads((bundle / "metadata.json").read_text("utf-8"))
    files: dict[str, dict[str, Any]] = metadata["files"]
    return {path: entry["sha256"] for path, entry in files.items()}


def test_the_configuration_lists_what_was_answered(template_folder: Path, tmp_path: Path) -> None:
    chosen = {"compile_mode": "auto", "gradient_accumulation_steps": 4, "trackers": ["wandb"]}
    project = render(template_folder, tmp_path / "p", named(chosen))
    config = yaml.safe_load((project / "config.yaml").read_text("utf-8"))
    assert {key: config[key] for key in chosen} == chosen
    loads = "from vision_project.config import TrainingConfig; TrainingConfig.load('config.yaml')"
    run(project, "-c", loads)
