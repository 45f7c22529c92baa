"""What a trained network says of every sample of a split, and how sure its metrics are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from scipy.sparse import csr_array, vstack
from torch import Tensor

from ..config import TrainingConfig
from ..data.check import with_facts
from ..data.module import Batch, UniversalDataModule, load_modality
from ..data.splits import Splits, labels_of
from ..errors import DataError
from ..forward import LABELS
from ..task import TaskSpec
from ..training.adapter import UniversalModelAdapter
from ..training.hardware import inference_device
from ..training.intervals import Interval as Interval
from ..training.metric_names import CLASS_FIGURES, VALIDATION
from ..training.objective import Multilabel, Objective, monitor_of
from ..training.objectives import OBJECTIVES
from ..training.parameters import untouched
from ..training.rivals import Rival
from ..training.statistics import Floats, SampleStatistics, TokenTotals, ratio
from ..training.trained_model import TrainedModel
from ..training.validation import ValidationMetrics

# of the bootstrap
RESAMPLES = 1000
SEED = 0
# share of the resamples between the ends of an interval
CONFIDENCE = 0.95
# numbers of a matrix of resamples that are in memory at a time
CHUNK = 2**22


@dataclass(frozen=True)
class Evaluation:
    """Every sample of a split, with what the network says of it.

    Attributes:
        task_spec: the task.
        split: `val`, `test`, or the name of other data.
        rows: the samples.
        places: of each of the N samples its file, or where it is in its table.
        truth: classes int64 [N], labels bool [N, K], or values float64 [N, K] in their own units;
            None for language models.
        answers: probabilities float32 [N, K], or values float64 [N, K] in the units of the labels;
            None for language models.
        losses: float64 [N], mean loss over the targets of each sample, neither weighted nor
            smoothed; NaN for a sample without targets.
        targets: float64 [N], targets of each sample.
        tokens: what tokens cost; None but for language models.
        metrics: by their names in metrics.csv, whatever the split; those of classes for any number
            of them.
        trivial_metrics: those of the answer that looks at no input; empty where nobody knows it.
        rivals: other methods on the same samples.
    """

    task_spec: TaskSpec
    split: str
    rows: Any
    places: list[str]
    truth: npt.NDArray[Any] | None
    answers: npt.NDArray[Any] | None
    losses: Floats
    targets: Floats
    tokens: TokenTotals | None
    metrics: dict[str, Interval]
    trivial_metrics: dict[str, float]
    rivals: list[Rival] = field(default_factory=list)

    def class_figures(self) -> dict[str, list[str]]:
        """For each class that occurs the names of its metrics: recall, precision, F1."""
        found = {
            name: [f"{VALIDATION}{figure}/{name}" for figure in CLASS_FIGURES]
            for name in self.task_spec.class_names
        }
        return {name: names for name, names in found.items() if names[0] in self.metrics}

    def overall_names(self) -> list[str]:
        """Names of the metrics that are not of one class."""
        of_classes = {name for names in self.class_figures().values() for name in names}
        return [name for name in self.metrics if name not in of_classes]


class Measured(Protocol):
    """What is evaluated: a `TrainedModel`, or a bundle."""

    @property
    def task_spec(self) -> TaskSpec:
        """Its task."""

    @property
    def config(self) -> TrainingConfig:
        """Settings of its run."""

    @property
    def processor(self) -> Any:
        """What made numbers of its inputs, where anything was learned for that."""


def evaluate(
    trained: Measured,
    splits: Splits | None = None,
    split: str = "val",
    forward: Callable[[Batch], Tensor] | None = None,
    console: Console | None = None,
) -> Evaluation:
    """Run a network over all samples of a split, in float32, as validation does.

    Args:
        trained: the network, a `TrainedModel` unless `forward` is given.
        splits: rows already read; those of the run's data by default.
        split: `val` for the validation samples; any other name for those of `splits.test`.
        forward: gives logits for a batch as the loader makes it, instead of the network.
        console: for the progress.

    Raises:
        DataError: the data cannot be read any more, have other classes now, or no such split.
    """
    splits = splits if splits is not None else splits_of_run(trained)
    rows = splits.val if split == "val" else splits.test
    if rows is None:
        raise DataError(f"{trained.config.data} has no {split} split; give --data val, or a PATH")
    task_spec = trained.task_spec
    objective = OBJECTIVES[task_spec.task_type]
    trivial = objective.configured(task_spec, trained.config).trivial_logits(
        task_spec, splits.train
    )
    found = _Collected(objective, task_spec, trained.processor, trivial)
    with torch.inference_mode():
        for batch, logits in _outputs(trained, rows, forward, console):
            found.add(batch, logits)
    losses, targets = found.kind.losses_and_targets(found.all_statistics())
    evaluation = Evaluation(
        task_spec,
        split,
        rows,
        load_modality(task_spec.modality).places(rows),
        _truth(rows, objective),
        np.concatenate(found.answers) if found.answers else None,
        ratio(losses, targets),
        targets,
        found.tokens,
        found.intervals(),
        found.trivial_metrics(),
    )
    if forward is not None or not len(splits.train):
        return evaluation
    return replace(evaluation, rivals=list(_rivals(trained, evaluation, splits.train)))


def _rivals(trained: Measured, evaluation: Evaluation, train: Any) -> Iterator[Rival]:
    """Other methods, fitted on the training rows, on the samples of an evaluation."""
    task_spec, config, rows = trained.task_spec, trained.config, evaluation.rows
    objective = OBJECTIVES[task_spec.task_type]
    monitor = monitor_of(objective.configured(task_spec, config), task_spec, config)
    own = evaluation.metrics.get(monitor.column)
    if own is None:  # a class that decides may be missing among other samples
        return
    for name, method in load_modality(task_spec.modality).rivals(task_spec, config).items():
        found = _Collected(objective, task_spec, trained.processor, None)
        logits = torch.from_numpy(_standardised(method(train)(rows), task_spec)).float()
        found.add({LABELS: _targets(rows, task_spec)}, logits)
        metrics = found.intervals()
        is_better = monitor.is_better(metrics[monitor.column].value, own.value)
        overall = {one: metrics[one] for one in evaluation.overall_names()}
        yield Rival(name, overall, monitor.column, is_better)


def _targets(rows: Any, task_spec: TaskSpec) -> Tensor:
    """The labels of rows as the loss sees them."""
    labels = labels_of(rows)
    if labels.ndim == 1:
        return torch.from_numpy(labels)
    return torch.from_numpy(_standardised(labels, task_spec)).float()


def _standardised(values: npt.NDArray[Any], task_spec: TaskSpec) -> npt.NDArray[Any]:
    """Values [N, K] as the network gives them; whatever are no values as they are."""
    if (known := task_spec.standardisation) is None:
        return values
    standardised: npt.NDArray[Any] = (values - np.array(known.mean)) / np.array(known.std)
    return standardised


def splits_of_run(trained: Measured) -> Splits:
    """The rows of the data that a run was trained on, every sample of them opened once.

    Raises:
        DataError: they cannot be read any more, or have other classes now.
    """
    config = trained.config
    modality = load_modality(trained.task_spec.modality)
    splits = with_facts(modality, modality.read_splits(config, trained.processor), config)
    now = TaskSpec.from_config(config, splits).class_names
    if now != trained.task_spec.class_names:
        raise DataError(
            f"{config.data} has other classes now than the network learned: {len(now)} instead of "
            f"{len(trained.task_spec.class_names)}, or other names; bring those samples back, or "
            "give --data PATH"
        )
    return splits


def _outputs(
    trained: Measured,
    rows: Any,
    forward: Callable[[Batch], Tensor] | None,
    console: Console | None,
) -> Iterator[tuple[Batch, Tensor]]:
    """Batches in the order of the rows, and the logits for each."""
    task_spec, config = trained.task_spec, untouched(trained.config)
    data = UniversalDataModule(
        task_spec,
        config.batch_size,
        config=config,
        splits=Splits(rows, rows, task_spec.class_names, trained.processor),
    )
    device = torch.device("cpu") if forward is not None else inference_device(config)
    loader, quiet = data.val_dataloader(), console is None or not console.is_terminal
    with _network(trained, device) if forward is None else nullcontext(forward) as network:
        for batch in track(loader, "Evaluating", console=console, transient=True, disable=quiet):
            batch = {name: value.to(device) for name, value in batch.items()}
            yield batch, network(batch)


@contextmanager
def _network(trained: Measured, device: torch.device) -> Iterator[Callable[[Batch], Tensor]]:
    """The network on a device, and back on the CPU afterwards."""
    assert isinstance(trained, TrainedModel)
    config, task_spec = untouched(trained.config), trained.task_spec
    adapter = UniversalModelAdapter(trained.model, config, trained.processor, task_spec=task_spec)
    try:
        yield adapter.eval().to(device)
    finally:
        trained.model.cpu()


class _Collected:
    """What is kept of batches: of language models no logits, which would fill any memory.

    Args:
        objective: the plain one of the task.
        task_spec: the task.
        processor: what made the inputs, where anything was learned for that.
        trivial: logits of the answer that looks at no input, where it is known.
    """

    def __init__(
        self, objective: Objective, task_spec: TaskSpec, processor: Any, trivial: Tensor | None
    ) -> None:
        self.objective, self.task_spec, self.trivial = objective, task_spec, trivial
        self.kind = objective.statistics(task_spec)
        self.counted, self.counted_trivial = (
            ValidationMetrics(objective, task_spec, processor, shared=False) for _ in range(2)
        )
        self.statistics: list[csr_array] = []
        self.answers: list[npt.NDArray[Any]] = []
        self.tokens: TokenTotals | None = None

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Add a batch, whose fields lie where the logits lie."""
        labels = batch[LABELS]
        fields = {name: value for name, value in batch.items() if name != LABELS}
        self.counted.to(logits.device).update(logits, labels, **fields)
        if self.trivial is not None:
            trivial = self.trivial.to(logits.device).expand_as(logits)
            self.counted_trivial.to(logits.device).update(trivial, labels, **fields)
        self.statistics.append(self.kind.of_samples(logits, labels, **fields))
        if (answers := self.objective.answers(logits, self.task_spec)) is not None:
            self.answers.append(answers.cpu().numpy())
        if (tokens := self.objective.token_totals(logits, labels, self.task_spec)) is not None:
            self.tokens = tokens if self.tokens is None else self.tokens + tokens

    def all_statistics(self) -> csr_array:
        """Of every sample: [N, S]."""
        return vstack(self.statistics, format="csr")

    def intervals(self) -> dict[str, Interval]:
        """Metrics as validation has them, with their intervals."""
        metrics = {name: float(value) for name, value in self.counted.compute().items()}
        return intervals(metrics, self.all_statistics(), self.kind)

    def trivial_metrics(self) -> dict[str, float]:
        """The same of the trivial answer; empty where nobody knows it."""
        if self.trivial is None:
            return {}
        return {name: float(value) for name, value in self.counted_trivial.compute().items()}


def _truth(rows: Any, objective: Objective) -> npt.NDArray[Any] | None:
    """The labels as they were read: standardising would round values."""
    if "labels" not in rows.column_names:
        return None
    labels = labels_of(rows)
    return labels > 0.5 if isinstance(objective, Multilabel) else labels


# --- Intervals -----------------------------------------------------------------------------------


def intervals(
    metrics: Mapping[str, float], statistics: csr_array, kind: SampleStatistics
) -> dict[str, Interval]:
    """Metrics with their 95 % percentile bootstrap intervals; the same each time.

    Samples are drawn with replacement, as many as there are. A resample in which a metric means
    nothing, such as the recall of a class that was not drawn, does not count for it. Of language
    models whole samples are drawn, since the tokens of one hang together. What no sample
    contradicts, such as an accuracy of 1, has an interval of one point: more samples tell more.

    B. Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.

    Args:
        metrics: of all samples, by their names in metrics.csv; those that are missing are added.
        statistics: of the samples, [N, S].
        kind: what the statistics are.
    """
    whole = kind.figures(np.asarray(statistics.sum(axis=0), np.float64))
    values = {f"{VALIDATION}{name}": float(value) for name, value in whole.items()} | dict(metrics)
    ends = dict(zip(whole, _ends(statistics, kind), strict=True))
    return {
        name: Interval(values[name], *ends[name.removeprefix(VALIDATION)])
        for name in dict.fromkeys([*metrics, *values])
        if name in metrics or not math.isnan(values[name])
    }


def _ends(statistics: csr_array, kind: SampleStatistics) -> Iterator[tuple[float, float]]:
    """Both ends of each interval, in the order of the figures."""
    resampled = [kind.figures(sums) for sums in resampled_sums(statistics)]
    for name in resampled[0]:
        values = np.concatenate([figures[name] for figures in resampled])
        told = values[~np.isnan(values)]
        if not len(told):
            yield math.nan, math.nan
            continue
        low, high = np.quantile(told, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        yield float(low), float(high)


def resampled_sums(statistics: csr_array) -> Iterator[Floats]:
    """Sums over resamples of the rows, some resamples at a time: float64 [b, S].

    How often each row is drawn is multinomial; drawing and counting is the quickest way to it.

    Args:
        statistics: [N, S].
    """
    size = statistics.shape[0]
    by_column = statistics.T.tocsr()
    generator = np.random.default_rng(SEED)
    at_a_time = max(1, CHUNK // size)
    for start in range(0, RESAMPLES, at_a_time):
        counts = np.stack(
            [
                np.bincount(generator.integers(size, size=size), minlength=size)
                for _ in range(min(at_a_time, RESAMPLES - start))
            ],
            axis=1,
        )
        yield (by_column @ counts.astype(np.float64)).T
