"""Which files a project has: the independent table that renderings are held against.

One row per file. Adding a file to the template means adding its row here.
`src/` stands for `src/<package>/`.
"""

from __future__ import annotations

from typing import Any

ALWAYS = """
.copier-answers.yml
.gitignore
LICENSE
README.md
config.yaml
pyproject.toml
src/__init__.py
src/__main__.py
src/architecture.py
src/bench/__init__.py
src/bench/data.py
src/bench/inference.py
src/bench/timing.py
src/bench/train.py
src/cli.py
src/config.py
src/data/__init__.py
src/data/check.py
src/data/module.py
src/data/new_folder.py
src/data/sample.py
src/data/tables.py
src/errors.py
src/export/__init__.py
src/export/bundle.py
src/export/files.py
src/export/formats.py
src/export/inputs.py
src/export/metadata.py
src/export/parity.py
src/export/signature.py
src/export/source.py
src/export/supply_chain.py
src/figures.py
src/inputs.py
src/model.py
src/plots.py
src/preprocessing.py
src/report.py
src/serving/.dockerignore
src/serving/Dockerfile
src/serving/README.md
src/serving/batching.py
src/serving/commandline.py
src/serving/compose.yaml
src/serving/config.properties
src/serving/handler.py
src/serving/healthcheck.py
src/serving/inference.py
src/serving/kubernetes.yaml
src/serving/model-config.yaml
src/serving/openinference.py
src/serving/runtime.py
src/serving/server.py
src/spec.py
src/task.py
src/training/__init__.py
src/training/accumulation.py
src/training/adapter.py
src/training/checkpoints.py
src/training/compilation.py
src/training/distributed.py
src/training/interruption.py
src/training/loop.py
src/training/metrics.py
src/training/objectives.py
src/training/progress.py
src/training/schedule.py
src/training/tasks.py
src/training/trackers.py
tests/conftest.py
tests/engine.py
tests/exported.py
tests/test_accumulation.py
tests/test_compilation.py
tests/test_config.py
tests/test_distributed.py
tests/test_docker.py
tests/test_effective_steps.py
tests/test_export_bundle.py
tests/test_faults.py
tests/test_reliability.py
tests/test_resume.py
tests/test_server.py
tests/test_settings.py
tests/test_task.py
tests/test_torchserve.py
"""

MODALITY = {
    "vision": """
src/data/vision.py
tests/payloads.py
tests/test_pipeline.py
tests/test_preprocessing.py
tests/test_vision_collator.py
tests/test_vision_data.py
""",
    "text": """
src/data/text.py
tests/payloads.py
tests/test_text_collator.py
tests/test_text_data.py
tests/test_text_inference.py
tests/test_text_model.py
tests/test_text_quality.py
tests/test_tokenizer.py
""",
}

CI = {
    "github": ".github/workflows/ci.yml",
    "gitlab": ".gitlab-ci.yml",
    "none": "",
}

NOTEBOOK = "notebooks/quickstart.ipynb"


def expected_files(answers: dict[str, Any]) -> set[str]:
    """The files of a project with these answers; missing answers are the defaults."""
    rows = ALWAYS.split()
    rows += MODALITY[answers.get("modality", "vision")].split()
    rows += CI[answers.get("ci", "github")].split()
    if answers.get("notebook", False):
        rows.append(NOTEBOOK)
    package = answers.get("package_name", "my_project")
    return {row.replace("src/", f"src/{package}/", 1) for row in rows}
