"""TrainingConfig: every setting of a run, checked as a whole.

`config.yaml` lists the same fields; `--field value` on the command line wins over it.
"""

from __future__ import annotations

import difflib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import MISSING, asdict, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

import yaml
from pydantic import Field, TypeAdapter, ValidationError, field_validator
from pydantic.dataclasses import dataclass

from .atomic import write_whole
from .config_base import SETTINGS, Kept
from .errors import ConfigError
from .input_config import InputConfig, Task

CompileMode = Literal["auto", "default", "reduce-overhead", "max-autotune"]
ClassWeights = (
    Literal["none", "balanced"] | dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
)
ExportFormat = Literal["onnx", "torchscript", "pytorch", "pt2"]
TrackerName = Literal["wandb", "tensorboard", "mlflow"]

# Titles of the parts of config.yaml, by the first field of each; before them all stands the first.
FIRST_SECTION = "input"
SECTIONS = {
    "task": "what is learned, from what",
    "freeze": "fine-tuning",
    "batch_size": "optimisation",
    "precision": "speed and hardware",
    "seed": "reproducibility and records",
    "export_bundle": "export",
}

# Other names of settings that people type, of other programs, and what is meant.
SYNONYMS = {
    "accum": "gradient_accumulation_steps",
    "arch": "model",
    "augmentation": "augment",
    "batch": "batch_size",
    "bs": "batch_size",
    "checkpoint": "resume",
    "data_dir": "data",
    "dataset": "data",
    "decay": "weight_decay",
    "device": "accelerator",
    "ema": "ema_decay",
    "epoch": "epochs",
    "finetune": "pretrained",
    "formats": "export_formats",
    "gpus": "devices",
    "grad_accum": "gradient_accumulation_steps",
    "gradient_accumulation": "gradient_accumulation_steps",
    "imgsz": "image_size",
    "img_size": "image_size",
    "input_size": "image_size",
    "labels": "label_column",
    "max_length": "max_seq_len",
    "network": "model",
    "nodes": "num_nodes",
    "opt": "optimizer",
    "output": "output_dir",
    "outdir": "output_dir",
    "patience": "early_stopping_patience",
    "random_state": "seed",
    "size": "image_size",
    "steps": "max_steps",
    "val_split": "validation_split",
    "wd": "weight_decay",
    "warmup": "warmup_ratio",
    "weights": "pretrained",
    "workers": "num_workers",
}

# Fields of 3.4 that go by another name now.
RENAMED = {
    "accumulate_grad_batches": "gradient_accumulation_steps",
    "n_epochs": "epochs",
    "num_epochs": "epochs",
    "lr": "learning_rate",
    "random_seed": "seed",
    "max_grad_clip": "max_grad_norm",
    "gradient_clip_val": "max_grad_norm",
}


@dataclass(config=SETTINGS, kw_only=True)
class LoraSettings:
    """Low-rank corrections of matrices."""

    r: Annotated[int, Field(ge=1)] = 8
    """Their rank."""

    alpha: Annotated[float, Field(gt=0)] = 16.0
    """Their scale, times `r`."""

    target_modules: Annotated[list[str], Field(min_length=1)] | None = None
    """Names, or ends of names, of the layers; null for all that are linear but the head."""


@dataclass(config=SETTINGS, kw_only=True)
class TrainingConfig(InputConfig):
    """Settings of one run.

    Raises:
        pydantic.ValidationError: bad values, all of them together (a ValueError). `from_dict` and
            `load` raise ConfigError instead, with one line for each.
    """

    # --- what is learned, from what --------------------------------------------------------------

    task: Annotated[Task, Kept] = Task.__args__[0]  # type: ignore[attr-defined]
    """What is learned; decides labels, loss and metrics."""

    data: str = "data"
    """Where the data lie: a folder, a table, or hub:NAME; the README shows the layouts."""

    label_column: Annotated[str | None, Kept] = None
    """Column of a table that holds the class or the labels; null for one by a usual name."""

    validation_split: Annotated[float, Field(gt=0, lt=1), Kept] = 0.1
    """Share of the training samples set aside to validate on, where there are no others."""

    model: str = "builtin"
    """The network: builtin, torchvision:NAME, timm:NAME, transformers:NAME, or code of your own.

    builtin is model.py; your own is PATH.py:NAME or PACKAGE.MODULE:NAME of a function or class.
    """

    model_args: dict[str, Any] = field(default_factory=dict)
    """Arguments for whatever builds the network, as a mapping; they win over the task's."""

    pretrained: Annotated[str | None, Kept] = None
    """Weights to begin with: default, a NAME of the model's library, or a PATH; null for random."""

    allow_partial: bool = False
    """Load the pretrained weights that fit, though others are missing, or left over."""

    head: Annotated[list[str] | None, Kept] = None
    """Names or globs of its layers that are new for the task; null for those the library tells."""

    # --- fine-tuning -----------------------------------------------------------------------------

    freeze: Literal["backbone"] | list[str] | None = None
    """What is not trained: backbone (all but the new layers), or globs of parameters or modules.

    Frozen parts are in eval mode, too: their dropout and running statistics rest.
    """

    unfreeze_epoch: Annotated[int, Field(ge=1)] | None = None
    """Epochs after which what is frozen is trained with the rest; null for never."""

    norm_statistics: Literal["train", "keep"] | None = None
    """Running statistics of batch normalisation: train them, or keep them as they came.

    Null for keep with `pretrained`, else train. Those of new layers are always trained.
    """

    backbone_lr_scale: Annotated[float, Field(gt=0)] | None = None
    """Share of the learning rate for all but the new layers.

    Null for 0.1 with `pretrained`, unless there is a `layer_decay`, else 1.
    """

    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of each layer as a share of the next one's, down to the input; 1 for none."""

    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of residual branches that training leaves out, where the library's network can.

    0 for as many as the library chooses.
    """

    lora: Annotated[LoraSettings | None, Kept] = None
    """LoRA: {r: 8, alpha: 16, target_modules: null}; it and the head are all that is trained.

    Its corrections are added to the weights that a checkpoint keeps. Needs the library PEFT.
    """

    # --- optimisation ----------------------------------------------------------------------------

    batch_size: Annotated[int, Field(ge=1)] = 32
    """Samples in one micro-batch on one process."""

    gradient_accumulation_steps: Annotated[int, Field(ge=1)] = 1
    """Micro-batches in one optimizer step; the effective batch is batch_size times this."""

    epochs: Annotated[int, Field(ge=1)] = 12
    """Passes over the training samples."""

    max_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps after which training ends, even inside an epoch; null for no limit."""

    optimizer: Annotated[str, Kept] = "adamw"
    """What takes the steps: a name of torch.optim, or of timm.optim where timm is installed.

    muon is Muon for the matrices between embedding and head, and AdamW for all else.
    """

    optimizer_args: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the optimizer by name, such as {betas: [0.9, 0.99]}."""

    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    """Peak learning rate of the optimizer, reached after the warm-up."""

    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay, on matrices and kernels only; AdamW's is decoupled from the gradient."""

    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of all optimizer steps in which the learning rate rises; then it falls as a cosine."""

    ema_decay: Annotated[float, Field(ge=0, lt=1), Kept] = 0.0
    """Share of a moving average of the weights that an optimizer step leaves; 0 for no average.

    The average is what is validated, kept and exported.
    """

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a class's target spread over all classes in training; validation goes without."""

    class_weights: ClassWeights = "none"
    """What a class weighs in the training loss: none, balanced, or a mapping name -> weight."""

    balanced_sampling: bool = False
    """Draw every class equally often in training, rare samples several times an epoch."""

    auxiliary_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    """What the loss of auxiliary outputs counts in training, where a network has such."""

    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Gradients are scaled down to this norm, over a whole accumulation window; 0 for never."""

    early_stopping_patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without a better validation result before training ends; 0 for never."""

    monitor: Annotated[str | None, Kept] = None
    """Validation metric that makes a checkpoint the best, such as loss or f1; null for the task's.

    Ties go to the lower validation loss.
    """

    on_nonfinite: Literal["stop", "skip"] = "stop"
    """What a NaN or infinite loss does: stop the run, or skip that accumulation window."""

    # --- speed and hardware ----------------------------------------------------------------------

    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Number format of the arithmetic: 32-true, bf16-mixed or 16-mixed (GPU only)."""

    compile_mode: CompileMode | None = None
    """torch.compile mode, auto (measure, then choose), or none for eager."""

    compile_fullgraph: bool = False
    """Compile to one graph only; a graph break then means eager training with a warning."""

    compile_dynamic: bool = True
    """Compile for changing shapes, so that the last, smaller batch compiles nothing anew."""

    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """Of products of float32 matrices in training, as torch.set_float32_matmul_precision takes it.

    highest is float32; high and medium let hardware that can do so count in fewer bits, such as
    TF32 and bfloat16, which is faster.
    """

    activation_checkpointing: bool = False
    """Keep only what goes into a network's blocks, and compute the rest again for the gradient.

    It takes less memory, and about a third more time; what is learned is the same.
    """

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """Kind of device; auto takes the best there is."""

    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"] = "auto"
    """How several processes share the work: auto, ddp (copies) or fsdp (shards; GPU only).

    fsdp goes without freeze, lora and ema_decay.
    ddp_find_unused_parameters_true is ddp for networks that leave some parameters unused at times.
    """

    devices: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Processes on one machine; auto for one per GPU, or one on a CPU."""

    num_nodes: Annotated[int, Field(ge=1)] = 1
    """Machines."""

    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Processes that load data, for each training process; 0 loads in that process itself.

    auto: for images on a GPU one for each core that is left over, at most 16; else none.
    """

    # --- reproducibility and records -------------------------------------------------------------

    seed: Annotated[int, Field(ge=0, lt=2**32), Kept] = 42
    """Seed of weights, order, augmentation and split."""

    deterministic: bool = False
    """Use only deterministic kernels; slower on a GPU."""

    trackers: list[TrackerName] = field(default_factory=list)
    """Where metrics go besides metrics.csv: wandb, tensorboard, mlflow."""

    output_dir: str = "runs"
    """Folder in which every run gets a folder of its own."""

    checkpoint_every_n_steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps between checkpoints inside an epoch; null for one at each epoch's end."""

    resume: str | None = None
    """Go on with a run: last, a run's folder, or a checkpoint file; null starts anew."""

    # --- export ----------------------------------------------------------------------------------

    export_bundle: bool = False
    """Write a bundle once training has ended."""

    export_formats: Annotated[list[ExportFormat], Field(min_length=1)] = field(
        default_factory=lambda: ["onnx", "torchscript"]
    )
    """Formats of a bundle: onnx, torchscript, pytorch, pt2; the first is what serves."""

    export_precision: Literal["float32", "float16", "int8"] = "float32"
    """Number format inside the ONNX file: float32, float16 or int8; inputs and outputs keep theirs.
    """

    export_max_loss: Annotated[float, Field(ge=0)] = 0.01
    """Share of the monitored validation metric that may be lost to export_precision."""

    export_dir: str = "exports"
    """Folder in which every bundle gets a folder of its own."""

    @field_validator("compile_mode", mode="before")
    @classmethod
    def _none_is_eager(cls, value: object) -> object:
        return None if value == "none" else value

    @field_validator("freeze", mode="before")
    @classmethod
    def _globs_with_commas(cls, value: object) -> object:
        if isinstance(value, str) and value != "backbone":
            return [glob.strip() for glob in value.split(",")]
        return None if value == [] else value

    @field_validator("optimizer")
    @classmethod
    def _name_in_small_letters(cls, value: str) -> str:
        return value.strip().lower()

    @field_validator("export_formats", "head", "trackers", mode="before")
    @classmethod
    def _names_with_commas(cls, value: object) -> object:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _classes_are_texts(cls, value: object) -> object:
        return {str(name): w for name, w in value.items()} if isinstance(value, dict) else value

    def __post_init__(self) -> None:
        if self.pretrained is None:
            for name, value in self.RECORDED.items():
                if getattr(self, name) is None:
                    setattr(self, name, value)
        problems = self.input_problems() + self.export_problems(self.export_formats)
        if self.strategy == "fsdp" and self.accelerator == "cpu":
            problems.append("strategy: fsdp needs GPUs; give ddp or auto on a CPU")
        if self.precision == "16-mixed" and self.accelerator == "cpu":
            problems.append("precision: 16-mixed needs a GPU; give bf16-mixed or 32-true on a CPU")
        if self.export_precision != "float32" and "onnx" not in self.export_formats:
            problems.append("export_precision: only onnx has others; add onnx to export_formats")
        if self.class_weights == "balanced" and self.balanced_sampling:
            problems.append(
                "balanced_sampling: class_weights: balanced makes up for the same; give one of them"
            )
        if self.ema_decay and self.strategy == "fsdp":
            problems.append("ema_decay: strategy: fsdp has no whole weights; give ddp or auto")
        problems += self._empty_problems() + self._freezing_problems()
        if problems:
            raise ValueError("\n".join(problems))

    def _empty_problems(self) -> list[str]:
        """A path that is empty would be the present folder."""
        names = ("data", "model", "pretrained", "tokenizer", "resume", "output_dir", "export_dir")
        return [
            f"{name}: is empty; give a value, or leave it out"
            for name in names
            if vars(self).get(name) == ""
        ]

    def _freezing_problems(self) -> list[str]:
        problems = []
        if self.lora and self.freeze:
            problems.append("freeze: lora trains nothing but itself and the head; leave one out")
        if self.lora and self.strategy == "fsdp":
            problems.append("lora: strategy: fsdp cannot hold parts still; give ddp or auto")
        if self.freeze and self.strategy == "fsdp":
            problems.append("freeze: strategy: fsdp cannot hold parts still; give ddp or auto")
        if self.freeze and self.activation_checkpointing:
            problems.append(
                "activation_checkpointing: what is frozen keeps no activations; leave it out, or "
                "freeze"
            )
        if self.unfreeze_epoch is not None and not self.freeze:
            problems.append("unfreeze_epoch: nothing is frozen; give freeze, or leave it out")
        elif self.unfreeze_epoch is not None and self.unfreeze_epoch >= self.epochs:
            problems.append(
                f"unfreeze_epoch: {self.unfreeze_epoch} of {self.epochs} epochs leaves none to "
                "train the rest in; give fewer, or null for never"
            )
        return problems

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON and YAML."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Inverse of `to_dict`; fields left out keep their defaults.

        Raises:
            ConfigError: with one line for every unknown field and bad value.
        """
        try:
            return cls(**data)
        except ValidationError as error:
            raise ConfigError(_describe(error, data)) from error

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> Self:
        """Read a YAML or JSON file; `overrides` win over what it holds.

        Fields that had another name in 3.4 are read under their new one, with a warning.

        Raises:
            ConfigError: no such file, not a mapping, unknown fields or bad values.
        """
        kept = _rename(read_mapping(path), path)
        return cls.from_dict({**kept, **cls.completed(overrides, kept)})

    def save(self, path: str | Path) -> None:
        """Write YAML, or JSON where the name ends in .json."""
        path, data = Path(path), self.to_dict()
        is_json = path.suffix == ".json"
        text = json.dumps(data, indent=2) if is_json else yaml.safe_dump(data, sort_keys=False)
        write_whole(path, text)

    @classmethod
    def of_run(cls, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> Self:
        """Settings of a run, which an earlier version of the project may have written.

        One that is not known any more is left out where it says nothing: null, or what it was
        without being set.

        Args:
            settings: as they were kept.
            defaults: of the version that wrote them.

        Raises:
            ConfigError: with one line for every unknown field and bad value.
        """
        known = {f.name for f in fields(cls)}
        kept = _rename(dict(settings), "the run's settings")
        for name in kept.keys() - known:
            if kept[name] is None or (name in defaults and kept[name] == defaults[name]):
                warnings.warn(
                    f"{name}: {json.dumps(kept[name])} of this run is not known any more, and left "
                    "out: it changes nothing",
                    stacklevel=2,
                )
                del kept[name]
        return cls.from_dict(kept)

    @classmethod
    def names(cls) -> list[str]:
        """Every field, in order."""
        return [f.name for f in fields(cls)]

    @classmethod
    def kept_on_resume(cls) -> list[str]:
        """Settings that a run keeps when it is resumed; see `Kept`."""
        hints = get_type_hints(cls, include_extras=True)
        return [f.name for f in fields(cls) if Kept in getattr(hints[f.name], "__metadata__", ())]

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """What each field means, in its order."""
        found: dict[str, str] = {}
        for owner in (InputConfig, cls):  # pydantic reads the docstrings of one class at a time
            for name, schema in TypeAdapter(owner).json_schema()["properties"].items():
                found.setdefault(name, "")
                found[name] = schema.get("description", found[name])
        return {f.name: found[f.name] for f in fields(cls)}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of every field."""
        return {
            f.name: f.default if f.default_factory is MISSING else f.default_factory()
            for f in fields(cls)
        }


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML as it is meant: of a key given twice, PyYAML would take the later value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping.

        Raises:
            yaml.YAMLError: a key is given twice.
        """
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = key.tag, str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value} is given twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


# no setting is a date, but a column or a class may be called 2026-11-27
UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# for PyYAML 1e-4 is a text: it wants a point and a sign
UniqueKeyLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML or JSON file holds.

    Raises:
        ConfigError: no such file, or something else in it.
    """
    path = Path(path)
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), UniqueKeyLoader)
    except OSError as error:
        raise ConfigError([f"{path} cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path} is not UTF-8 at byte {error.start}"]) from error
    except yaml.YAMLError as error:
        raise ConfigError([f"{path} is not YAML: {_problem(error)}"]) from error
    if not isinstance(data, dict):
        raise ConfigError([f"{path} holds no fields; write lines such as `epochs: 12`"])
    return data


def read_value(text: str) -> Any:
    """What a text on the command line means: the same as in a configuration file.

    But one that begins with * is a glob; in YAML it would refer to something.

    Raises:
        ValueError: no YAML.
    """
    if text.startswith("*"):
        return text
    try:
        return yaml.load(text, UniqueKeyLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {_problem(error)}") from error


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        is_glob = "alias" in f"{error.context} {error.problem}"
        hint = '; what begins with * needs double quotes of its own, such as "*.bias"'
        return f"{error.problem} in line {error.problem_mark.line + 1}{hint if is_glob else ''}"
    return " ".join(str(error).split())


def nearest(name: str, known: list[str], prefix: str = "") -> str:
    """A hint at the closest known name, or nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _rename(data: dict[str, Any], path: str | Path) -> dict[str, Any]:
    renamed = dict(data)
    for old, new in RENAMED.items():
        if old in renamed and new not in renamed:
            renamed[new] = renamed.pop(old)
            warnings.warn(f"{path}: {old} is called {new} now", DeprecationWarning, stacklevel=3)
    return renamed


def _describe(error: ValidationError, data: Mapping[str, Any]) -> list[str]:
    """One line for each problem: the field, the value, what would do."""
    names = [f.name for f in fields(TrainingConfig)]
    problems: dict[str, str] = {}
    words: str | None = None  # the field before, if it takes words, and what it got is none
    for detail in error.errors(include_url=False):
        name, kind = str(detail["loc"][0]) if detail["loc"] else "", detail["type"]
        given = data.get(name)
        if kind == "unexpected_keyword_argument" and len(detail["loc"]) > 1:
            problems[name] = f"{name}: there is no {str(detail['loc'][-1])!r} in it"
        elif kind == "unexpected_keyword_argument":
            problems[name] = f"{name}: no such field{nearest(name, names)}"
        elif not name:
            problems[""] = str(detail["ctx"]["error"])
        elif kind in FORMS and name == words:
            problems[name] += f", or {FORMS[kind]}"
        elif kind == "missing":  # reported for each of them
            count = int(detail["loc"][-1]) + 1
            problems[name] = f"{name}: {given!r} should be {_form(name, count)}"
        elif name not in problems or name == words:
            problems[name] = f"{name}: {_problem_of_value(name, given, detail)}"
            words = name if kind == "literal_error" and detail["input"] == given else None
    return list(problems.values())


# what pydantic calls the forms of a value
FORMS = {
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping",
}


def _problem_of_value(name: str, given: object, detail: Mapping[str, Any]) -> str:
    kind, part = detail["type"], detail["input"]
    if kind == "too_long":
        return f"{given!r} should be {_form(name, detail['ctx']['max_length'])}"
    if kind in FORMS:
        within = "" if part == given else f"{part!r} in "
        return f"{within}{given!r} should be {FORMS[kind]}. {_meaning(name)}"
    message = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    choices = detail.get("ctx", {}).get("expected", "")
    hint = nearest(str(part), re.findall(r"'([^']+)'", choices))
    within = f"{part!r} in " if part != given and isinstance(given, list | Mapping) else ""
    return f"{within}{given!r} {message}{hint}"


def _form(name: str, count: int) -> str:
    return f"a list of {count} values. {_meaning(name)}"


def _meaning(name: str) -> str:
    """What a field means, in a line."""
    return TrainingConfig.descriptions()[name].partition("\n\n")[0].replace("\n", " ")
