"""Which files a project has: the independent table that renderings are held against.

One row per file. Adding a file to the template means adding its row here, or in a modality's
`_parts/files.txt` where no other modality has such a file. `src/` stands for `src/<package>/`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from answer_space import overlay
from rendering import ROOT

ALWAYS = """
.copier-answers.yml
.gitattributes
.gitignore
LICENSE
README.md
config.yaml
pyproject.toml
src/__init__.py
src/__main__.py
src/architecture.py
src/atomic.py
src/bench/__init__.py
src/bench/data.py
src/bench/inference.py
src/bench/timing.py
src/bench/train.py
src/catalogues.py
src/cli.py
src/config.py
src/config_base.py
src/data/__init__.py
src/data/account.py
src/data/check.py
src/data/class_folders.py
src/data/columns.py
src/data/description.py
src/data/doctor.py
src/data/file_facts.py
src/data/file_samples.py
src/data/folders.py
src/data/known.py
src/data/labels.py
src/data/layout.py
src/data/mixing.py
src/data/module.py
src/data/new_folder.py
src/data/order.py
src/data/processor.py
src/data/reading.py
src/data/row_dataset.py
src/data/sample.py
src/data/similarity.py
src/data/sources.py
src/data/splits.py
src/data/table_labels.py
src/data/tables.py
src/data/validation_order.py
src/data/workers.py
src/deep_check.py
src/errors.py
src/evaluation/__init__.py
src/evaluation/bundle.py
src/evaluation/command.py
src/evaluation/files.py
src/evaluation/samples.py
src/evaluation/tables.py
src/export/__init__.py
src/export/artifact_inputs.py
src/export/attention.py
src/export/bundle.py
src/export/bundle_files.py
src/export/bundle_runtime.py
src/export/caching.py
src/export/dummy_inputs.py
src/export/formats.py
src/export/imports.py
src/export/input_graph.py
src/export/metadata.py
src/export/model_card.py
src/export/of_run.py
src/export/onnx_versions.py
src/export/parity.py
src/export/plain_copy.py
src/export/precision.py
src/export/reading_data.py
src/export/shipped_source.py
src/export/signature.py
src/export/supply_chain.py
src/export/untraceable.py
src/forward.py
src/identity.py
src/input_config.py
src/libraries.py
src/model.py
src/preprocessing.py
src/options.py
src/pretrained/__init__.py
src/pretrained/files.py
src/pretrained/head.py
src/pretrained/loading.py
src/pretrained/records.py
src/pretrained/settings.py
src/pretrained/sources.py
src/report.py
src/report_page/__init__.py
src/report_page/calibration.py
src/report_page/charts.py
src/report_page/classes.py
src/report_page/comparison.py
src/report_page/curves.py
src/report_page/data.py
src/report_page/doctor.py
src/report_page/elements.py
src/report_page/labels.py
src/report_page/page.css
src/report_page/page.html
src/report_page/page.js
src/report_page/page.py
src/report_page/run.py
src/report_page/samples.py
src/report_page/values.py
src/report_page/verdict.py
src/report_page/views.py
src/serving/.dockerignore
src/serving/Dockerfile
src/serving/MODEL_CARD.template.md
src/serving/README.template.md
src/serving/compose.yaml
src/serving/config.properties
src/serving/handler.py
src/serving/healthcheck.py
src/serving/inference.py
src/serving/kubernetes.yaml
src/serving/model-config.yaml
src/serving/page/docs.css
src/serving/page/docs.html
src/serving/page/docs.js
src/serving/page/dom.js
src/serving/page/file_input.js
src/serving/page/index.html
src/serving/page/modality.js
src/serving/page/page.css
src/serving/page/page.js
src/serving/runtime/__init__.py
src/serving/runtime/caching.py
src/serving/runtime/commandline.py
src/serving/runtime/cores.py
src/serving/runtime/encodings.py
src/serving/runtime/engine.py
src/serving/runtime/folders.py
src/serving/runtime/http/__init__.py
src/serving/runtime/http/application.py
src/serving/runtime/http/authorization.py
src/serving/runtime/http/batching.py
src/serving/runtime/http/bodies.py
src/serving/runtime/http/connections.py
src/serving/runtime/http/description.py
src/serving/runtime/http/errors.py
src/serving/runtime/http/forms.py
src/serving/runtime/http/metrics.py
src/serving/runtime/http/middleware.py
src/serving/runtime/http/openinference.py
src/serving/runtime/http/pages.py
src/serving/runtime/http/payloads.py
src/serving/runtime/http/process.py
src/serving/runtime/http/service.py
src/serving/runtime/http/settings.py
src/serving/runtime/http/telemetry.py
src/serving/runtime/instances.py
src/serving/runtime/integrity.py
src/serving/runtime/messages.py
src/serving/runtime/named_files.py
src/serving/runtime/outputs.py
src/serving/runtime/predictions.py
src/serving/runtime/rows.py
src/serving/runtime/sessions.py
src/serving/runtime/sources.py
src/serving/runtime/streams.py
src/serving/runtime/tables.py
src/serving/runtime/weights.py
src/serving/server.py
src/source_files.py
src/task.py
src/task_base.py
src/terminal.py
src/training/__init__.py
src/training/accumulation.py
src/training/activation_checkpointing.py
src/training/adapter.py
src/training/averaging.py
src/training/batch_norm.py
src/training/buffers.py
src/training/checkpoints.py
src/training/compilation.py
src/training/distributed.py
src/training/failures.py
src/training/first_weights.py
src/training/frozen_features.py
src/training/frozen_part.py
src/training/hardware.py
src/training/interruption.py
src/training/intervals.py
src/training/labels.py
src/training/loop.py
src/training/linear_model.py
src/training/low_rank.py
src/training/metric_names.py
src/training/metrics.py
src/training/objective.py
src/training/objectives.py
src/training/optimizers.py
src/training/pace.py
src/training/parameters.py
src/training/probe.py
src/training/progress.py
src/training/resume.py
src/training/run_checkpoints.py
src/training/rivals.py
src/training/row_file.py
src/training/run_folder.py
src/training/runs.py
src/training/schedule.py
src/training/speaker.py
src/training/statistics.py
src/training/summary.py
src/training/tracker_process.py
src/training/trackers.py
src/training/trained_model.py
src/training/trivial.py
src/training/validation.py
src/user_code.py
tests/bundles.py
tests/conftest.py
tests/payloads.py
tests/small_runs.py
tests/test_accumulation.py
tests/test_activation_checkpointing.py
tests/test_averaging.py
tests/test_bench.py
tests/test_buffers.py
tests/test_compilation.py
tests/test_commands.py
tests/test_config.py
tests/test_devices.py
tests/test_distributed.py
tests/test_docker.py
tests/test_doctor.py
tests/test_effective_steps.py
tests/test_evaluate.py
tests/test_export_bundle.py
tests/test_failures.py
tests/test_frozen_features.py
tests/test_groups.py
tests/test_healthcheck.py
tests/test_identity.py
tests/test_inference.py
tests/test_low_rank.py
tests/test_model_card.py
tests/test_objective.py
tests/test_optimizers.py
tests/test_order.py
tests/test_precision.py
tests/test_pretrained.py
tests/test_report.py
tests/test_resume.py
tests/test_resume_at_random.py
tests/test_resume_changes.py
tests/test_rivals.py
tests/test_server.py
tests/test_server_clients.py
tests/test_server_process.py
tests/test_server_reliability.py
tests/test_settings.py
tests/test_stopping.py
tests/test_tables.py
tests/test_task.py
tests/test_torchserve.py
tests/test_trackers.py
tests/test_trivial.py
tests/test_trust.py
tests/test_tuning.py
"""

CI = {
    "github": ".ci/conflict_markers.py .github/workflows/ci.yml",
    "gitlab": ".ci/conflict_markers.py .gitlab-ci.yml",
    "none": "",
}

UPDATES = {
    ("github", "scheduled"): ".ci/template_update.py .github/workflows/template-update.yml",
    ("gitlab", "scheduled"): ".ci/template_update.py",
    ("github", "renovate"): "renovate.json",
    ("gitlab", "renovate"): "renovate.json",
    ("none", "renovate"): "renovate.json",
}

NOTEBOOK = "notebooks/quickstart.ipynb"


def expected_files(answers: dict[str, Any], template: Path = ROOT) -> set[str]:
    """The files of a project with these answers; missing answers are the defaults."""
    parts = overlay(answers.get("modality", "vision"), template) / "_parts"
    rows = ALWAYS.split() + (parts / "files.txt").read_text("utf-8").split()
    ci = answers.get("ci", "github")
    rows += CI[ci].split()
    rows += UPDATES.get((ci, answers.get("template_updates", "none")), "").split()
    if answers.get("notebook", False):
        rows.append(NOTEBOOK)
    package = answers.get("package_name", "my_project")
    return {row.replace("src/", f"src/{package}/", 1) for row in rows}
