"""A run as one self-contained HTML page: metrics, curves, pictures, settings."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .atomic import write_whole
from .data.description import lines
from .data.doctor import Findings
from .deep_check import describe
from .errors import TrainingError
from .figures import doctor_figures, evaluation_figures
from .training.checkpoints import find_checkpoint
from .training.metrics import read_metrics
from .training.summary import Table, class_table, overall_table
from .training.trained_model import TrainedModel, load_trained_model

PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
         color: #1c1c1c; background: #fff; }
  h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2.5rem }
  table { border-collapse: collapse } td, th { padding: .2rem 1rem .2rem 0; text-align: left }
  td + td { font-variant-numeric: tabular-nums }
  img { max-width: 100%; height: auto } pre { overflow-x: auto; font-size: .85rem }
</style>
<h1>$title</h1>
$body
</html>
""")


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run's folder, from its metrics and its best checkpoint.

    Returns:
        the page's path.

    Raises:
        TrainingError: the folder holds no finished epoch.
        DataError: its `doctor.json` is damaged.
    """
    if not (run_dir / "metrics.csv").is_file():
        raise TrainingError(f"{run_dir} holds no metrics.csv; give the folder of a run")
    metrics = read_metrics(run_dir)
    trained = load_trained_model(find_checkpoint("", str(run_dir), "best"))
    body = [
        _section(
            "Best checkpoint", _table(overall_table(trained.metrics, trained.trivial_metrics))
        ),
        *(
            [_section("Classes", _table(classes))]
            if (classes := class_table(trained.metrics))
            else []
        ),
        _section("Training", _image(curves(metrics))),
        *_data_section(trained.data),
        *(_section(title, _image(figure)) for title, figure in evaluation_figures(trained)),
        *_doctor(run_dir, trained),
        _section("Settings", _table([[n, str(v)] for n, v in trained.config.to_dict().items()])),
    ]
    title = html.escape(f"{trained.task_spec.task_type}: {run_dir.name}")
    page = run_dir / "report.html"
    write_whole(page, PAGE.substitute(title=title, body="\n".join(body)))
    return page


def curves(metrics: pd.DataFrame) -> Figure:
    """Loss, validation metrics and learning rate by optimizer step."""
    # those of single classes are a table, and values have units of their own
    scores = [c for c in metrics.columns if re.fullmatch("val/[^/]+", c) and c != "val/loss"]
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    loss, score, rate = figure.subplots(1, 3)
    _draw(loss, metrics, {"train/loss": "training", "val/loss": "validation"}, "loss")
    _draw(score, metrics, {name: name.removeprefix("val/") for name in scores}, "validation")
    _draw(rate, metrics, {"learning_rate": "learning rate"}, "learning rate")
    return figure


def _draw(axes: Axes, metrics: pd.DataFrame, names: dict[str, str], title: str) -> None:
    for name, label in names.items():
        if name in metrics:
            points = metrics[["optimizer_step", name]].dropna()
            line = "-" if len(points) > 60 else "o-"
            axes.plot(points["optimizer_step"], points[name], line, markersize=3, label=label)
    axes.set(title=title, xlabel="optimizer step")
    axes.grid(alpha=0.3)
    if len(names) > 1:
        axes.legend()


def _data_section(described: dict[str, Any]) -> list[str]:
    """What was understood of the data; nothing where that was not kept."""
    told = [
        *lines(described),
        *(f"warning: {warning}" for warning in described.get("warnings", ())),
    ]
    items = "\n".join(f"<li>{html.escape(line.strip())}</li>" for line in told)
    return [_section("Data", f"<ul>\n{items}\n</ul>")] if told else []


def _doctor(run_dir: Path, trained: TrainedModel) -> list[str]:
    """What `data check --deep` found with this run, where it was asked."""
    findings = Findings.load(run_dir)
    if findings is None:
        return []
    lines = html.escape("\n".join([*describe(findings), *findings.notes]))
    figures = doctor_figures(trained, findings)
    return [
        _section("Data doctor", f"<pre>{lines}</pre>"),
        *(_section(title, _image(figure)) for title, figure in figures),
    ]


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{content}"


def _table(rows: Table) -> str:
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return "<table>\n" + "\n".join(f"<tr>{line}</tr>" for line in lines) + "\n</table>"


def _image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/png;base64,{encoded}">'
