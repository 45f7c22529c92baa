"""An ONNX file of fewer bits, made by onnxruntime's own tools and judged on validation samples.

Networks whose weights lie mostly in convolutions are quantised statically: the ranges of their
activations are measured on training samples. Others are quantised dynamically, each range as it
comes: activations of transformers have outliers for which no fixed range is good, and convolutions
are slow with ranges that have to be found first.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ..config import TrainingConfig
from ..data.check import with_facts
from ..data.module import Batch, UniversalDataModule, load_modality
from ..data.splits import Splits
from ..errors import DataError, ExportError
from ..forward import LABELS
from ..serving.runtime.sessions import EXTERNAL, onnxruntime_errors
from ..task import TaskSpec
from ..training.objective import MAX, Monitor, monitor_of
from ..training.objectives import OBJECTIVES
from ..training.validation import ValidationMetrics
from .metadata import artifact_bytes, artifact_files
from .signature import LOGITS

if TYPE_CHECKING:
    import onnx

# the one format whose precision can be reduced
FORMAT = "onnx"
# training samples on which the ranges of activations are measured
CALIBRATION_SAMPLES = 256
# By how much the example's answer may differ elsewhere from what such a file gives here: a rounding
# of float32 that falls otherwise moves an activation by one of few levels.
REDUCED_TOLERANCE = 0.05
# What onnxruntime's tools raise about a graph they cannot convert; its own errors come beside them.
TOOL_ERRORS = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError)
CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass(frozen=True)
class Reduction:
    """What reducing an artifact's precision did to it.

    Attributes:
        precision: `float16` or `int8`.
        method: how it was done.
        monitored: the metric that decides.
        loss: by what share of itself that metric is worse; less than 0 where it is better.
        max_loss: what it may be.
        before, after: validation metrics of the float32 file and of this one.
        bytes_before, bytes_after: their sizes.
    """

    precision: str
    method: str
    monitored: str
    loss: float
    max_loss: float
    before: dict[str, float]
    after: dict[str, float]
    bytes_before: int
    bytes_after: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        sizes = f"{self.bytes_before / 1e6:.2f} to {self.bytes_after / 1e6:.2f} MB"
        figures = (
            f"{name} {value:.4g} to {self.after[name]:.4g}"
            for name, value in self.before.items()
            if "/" not in name.removeprefix("val/")  # figures of single classes are many
        )
        return f"{self.precision} ({self.method}): {sizes}; {', '.join(figures)}"


class Samples:
    """Validation samples to judge by, and training samples to calibrate with.

    Args:
        task_spec: the task.
        config: of the run; says where its data lie.
        processor: what was learned to make the inputs, where anything was.
        splits: the samples, where they have been read already.

    Raises:
        ExportError: they are not there any more, cannot be read, or have other classes now.
    """

    def __init__(
        self,
        task_spec: TaskSpec,
        config: TrainingConfig,
        processor: Any,
        splits: Splits | None = None,
    ) -> None:
        self.task_spec, self.config, self.processor = task_spec, config, processor
        self.splits = splits or _read(task_spec, config, processor)
        self.data = UniversalDataModule(
            task_spec, config.batch_size, config=config, splits=self.splits, processor=processor
        )
        modality = load_modality(task_spec.modality)
        # in evaluation, or it would mix the samples by which it is judged
        self.transform = modality.make_input_transform(task_spec, config).eval()
        objective = OBJECTIVES[task_spec.task_type]
        self.monitor: Monitor = monitor_of(
            objective.configured(task_spec, config), task_spec, config
        )

    def validation(self) -> Iterator[Batch]:
        """Every validation sample, as the network takes it."""
        with torch.no_grad():
            yield from map(self.transform, self.data.val_dataloader())

    def calibration(self) -> Iterator[Batch]:
        """Training samples from all over the set, without augmentation."""
        rows = self.splits.train
        step = max(1, len(rows) // CALIBRATION_SAMPLES)
        modality = self.data.modality
        dataset = modality.make_dataset(
            rows.select(range(0, len(rows), step)), self.task_spec, self.config, training=False
        )
        numbers = range(min(CALIBRATION_SAMPLES, len(dataset)))  # type: ignore[arg-type]
        size = self.config.batch_size
        with torch.no_grad():
            for start in range(0, len(numbers), size):
                samples = [dataset[0, number] for number in numbers[start : start + size]]
                yield self.transform(self.data.collator(samples))

    def metrics(self, path: Path, names: Sequence[str]) -> dict[str, float]:
        """Validation metrics of an ONNX file.

        Args:
            path: of the file.
            names: fields of a batch that it takes.
        """
        session = _session(path)
        task_spec = self.task_spec
        counted = ValidationMetrics(
            OBJECTIVES[task_spec.task_type], task_spec, self.processor, shared=False
        )
        for batch in self.validation():
            [answer] = session.run([LOGITS], _arrays(batch, names))
            logits = torch.from_numpy(answer)
            if (known := task_spec.standardisation) is not None:  # the file gives values
                logits = (logits - torch.tensor(known.mean)) / torch.tensor(known.std)
            fields = {name: value for name, value in batch.items() if name != LABELS}
            counted.update(logits, batch[LABELS], **fields)
        return {name: float(value) for name, value in counted.compute().items()}


def _read(task_spec: TaskSpec, config: TrainingConfig, processor: Any) -> Splits:
    modality = load_modality(task_spec.modality)
    try:
        splits = with_facts(modality, modality.read_splits(config, processor), config)
    except DataError as error:
        reason = str(error).splitlines()[0]
        raise ExportError(
            f"{FORMAT}: export_precision: {config.export_precision} is judged by the validation "
            f"samples, which cannot be read: {reason}; bring them back, or export float32"
        ) from error
    if TaskSpec.from_config(config, splits).class_names != task_spec.class_names:
        raise ExportError(
            f"{FORMAT}: export_precision: {config.data} has other classes now than the network "
            "learned; bring those samples back, or export float32"
        )
    return splits


def reduce_precision(path: Path, samples: Samples, names: Sequence[str]) -> Reduction:
    """Rewrite an ONNX file in the precision that the configuration asks for.

    Inputs and outputs keep their types.

    Args:
        path: the file, whose weights may lie beside it.
        samples: to judge by.
        names: its inputs.

    Raises:
        ExportError: the tools cannot convert it, or the monitored metric loses more than
            `export_max_loss`.
    """
    config, column = samples.config, samples.monitor.column
    before = samples.metrics(path, names)
    bytes_before = artifact_bytes(path)
    errors: tuple[type[Exception], ...] = (*TOOL_ERRORS, *onnxruntime_errors())
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".reduced-") as folder:
        reduced = Path(folder) / path.name
        try:
            with _quiet():
                method = _CONVERTERS[config.export_precision](path, reduced, samples, names)
            _keep_properties(path, reduced)
            after = samples.metrics(reduced, names)
        except errors as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise ExportError(
                f"{FORMAT}: onnxruntime cannot make {config.export_precision} of it: {reason}; "
                "export with export_precision: float32"
            ) from error
        loss = _loss(samples.monitor, before[column], after[column])
        if not loss <= config.export_max_loss:
            raise ExportError(
                f"{FORMAT}: {config.export_precision} makes {column} {before[column]:.4g} "
                f"{after[column]:.4g}, a loss of {loss:.1%} (export_max_loss: "
                f"{config.export_max_loss:.1%}); allow more, or export with another "
                "export_precision"
            )
        for file in artifact_files(path):
            file.unlink()
        for file in artifact_files(reduced):
            shutil.move(file, path.parent / file.name)
    return Reduction(
        config.export_precision,
        method,
        column,
        loss,
        config.export_max_loss,
        before,
        after,
        bytes_before,
        artifact_bytes(path),
    )


def _loss(monitor: Monitor, before: float, after: float) -> float:
    """By what share of itself a metric is worse; NaN where it is none any more."""
    worse = before - after if monitor.mode == MAX else after - before
    if before == 0:
        return worse if not worse > 0 else math.inf
    return worse / abs(before)


# --- onnxruntime's tools -------------------------------------------------------------------------


def _to_float16(path: Path, target: Path, samples: Samples, names: Sequence[str]) -> str:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = OnnxModel(convert_float_to_float16(onnx.load(path), keep_io_types=True))
    model.topological_sort(is_deterministic=True)  # the converter leaves its casts at the end
    onnx.save(model.model, target, **_beside(path))
    return "weights and arithmetic"


def _to_int8(path: Path, target: Path, samples: Samples, names: Sequence[str]) -> str:
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = len(artifact_files(path)) > 1
    prepared = target.with_name("prepared.onnx")
    quant_pre_process(path, prepared, skip_symbolic_shape=True, save_as_external_data=large)
    # 7 bits: sums of 8-bit products overflow on processors without VNNI, though not on this one
    options: dict[str, Any] = {
        "per_channel": True,
        "reduce_range": True,
        "weight_type": QuantType.QInt8,
        "use_external_data_format": large,
    }
    if _mostly_convolutions(onnx.load(prepared, load_external_data=False)):
        reader = _Reader(_arrays(batch, names) for batch in samples.calibration())
        quantize_static(prepared, target, reader, activation_type=QuantType.QUInt8, **options)
        method = "static, calibrated on training samples"
    else:
        quantize_dynamic(prepared, target, **options)
        method = "dynamic"
    for file in artifact_files(prepared):
        file.unlink()
    return method


_CONVERTERS = {"float16": _to_float16, "int8": _to_int8}


def _mostly_convolutions(model: onnx.ModelProto) -> bool:
    """Whether most of what can be quantised are weights of convolutions."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    weights = {True: 0, False: 0}
    for node in model.graph.node:
        if node.op_type in (*CONVOLUTIONS, "MatMul", "Gemm"):
            held = sum(sizes.get(name, 0) for name in node.input)
            weights[node.op_type in CONVOLUTIONS] += held
    return weights[True] > weights[False]


class _Reader:
    """Batches as onnxruntime's calibration asks for them; a `CalibrationDataReader`."""

    def __init__(self, batches: Iterator[dict[str, npt.NDArray[Any]]]) -> None:
        self.batches = batches

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """The next batch; None behind the last one."""
        return next(self.batches, None)


def _keep_properties(path: Path, target: Path) -> None:
    """What the file says about itself; the tools drop it."""
    import onnx

    before = onnx.load(path, load_external_data=False)
    after = onnx.load(target, load_external_data=False)
    properties = {entry.key: entry.value for entry in before.metadata_props}
    onnx.helper.set_model_props(after, properties)
    onnx.save(after, target)


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _beside(path: Path) -> dict[str, Any]:
    """How to save a file like this one: with its weights inside, or beside it."""
    if len(artifact_files(path)) == 1:
        return {}
    return {"save_as_external_data": True, "location": f"{path.name}{EXTERNAL}"}


def _arrays(batch: Mapping[str, Any], names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    return {name: np.ascontiguousarray(batch[name].numpy()) for name in names}


@contextmanager
def _quiet() -> Iterator[None]:
    """Onnxruntime's tools write advice to the root logger."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
