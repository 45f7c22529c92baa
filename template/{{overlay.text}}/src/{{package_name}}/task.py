"""TaskSpec of a text project, and its presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .config import TrainingConfig
from .preprocessing import TextTokenizer
from .task_base import BaseTaskSpec, class_outputs

if TYPE_CHECKING:
    from torch import Tensor

    from .data.splits import Splits

# Names under which networks ask for the main input of a batch, the token ids.
MAIN_INPUT_NAMES = ("x", "input", "inputs", "ids", "idx", "input_ids", "tokens")

# What the Hugging Face hub calls a task.
PIPELINE_TAGS = {
    "lm": "text-generation",
    "masked_lm": "fill-mask",
    "text_classification": "text-classification",
}


def _tokens(max_seq_len: int, vocab_size: int) -> dict[str, Any]:
    return {"max_seq_len": max_seq_len, "vocab_size": vocab_size}


@dataclass(kw_only=True)
class TaskSpec(BaseTaskSpec):
    """A text task.

    `input_schema` holds `max_seq_len` (the longest input, in tokens), `vocab_size`, and where the
    tokenizer is known `pad_token_id`. The network's outputs are the tokens of the vocabulary, or
    the classes.
    """

    modality: str = "text"
    task_type: str = "lm"
    input_schema: dict[str, Any] = field(default_factory=lambda: _tokens(128, 1024))

    def logits_shape(self, inputs: Mapping[str, Tensor]) -> tuple[int, ...]:
        """[B, K] for classes, [B, T, V] for a token at each position."""
        if self.task_type == "text_classification":
            return super().logits_shape(inputs)
        return *next(iter(inputs.values())).shape, self.num_outputs

    @property
    def continues(self) -> bool:
        """Whether texts are continued, token by token."""
        return self.task_type == "lm"

    @classmethod
    def lm_tiny(cls) -> Self:
        """The sample corpus, continued token by token."""
        return cls(name="lm_tiny", output_schema={"num_outputs": 1024})

    @classmethod
    def mlm_tiny(cls) -> Self:
        """The sample corpus with gaps to fill."""
        return cls(name="mlm_tiny", task_type="masked_lm", output_schema={"num_outputs": 1024})

    @classmethod
    def cls_tiny(cls) -> Self:
        """The sample snippets: which package each comes from."""
        names = [
            "asyncio",
            "email",
            "http",
            "importlib",
            "logging",
            "multiprocessing",
            "unittest",
            "urllib",
            "xml",
        ]
        return cls(
            name="cls_tiny",
            task_type="text_classification",
            output_schema={"num_outputs": len(names), "class_names": names},
        )

    @classmethod
    def preset(cls, task_type: str) -> Self:
        """The preset of a task type."""
        presets = (cls.lm_tiny(), cls.mlm_tiny(), cls.cls_tiny())
        return next(spec for spec in presets if spec.task_type == task_type)

    @classmethod
    def from_config(cls, config: TrainingConfig, splits: Splits) -> Self:
        """The task a configuration asks for on data with these classes and this tokenizer.

        A vocabulary learned from little text is smaller than `config.vocab_size`: the tokenizer's
        counts where there is one.
        """
        assert config.max_seq_len is not None  # settled, by a record or without
        tokenizer: TextTokenizer | None = splits.processor
        vocab_size = tokenizer.vocab_size if tokenizer else config.vocab_size
        padding = {"pad_token_id": tokenizer.pad_token_id} if tokenizer else {}
        outputs: dict[str, Any] = {"num_outputs": vocab_size}
        if config.task == "text_classification":
            outputs = class_outputs(splits)
        return cls(
            name=config.task,
            task_type=config.task,
            input_schema=_tokens(config.max_seq_len, vocab_size) | padding,
            output_schema=outputs,
        )


def get_default_task_specs() -> dict[str, TaskSpec]:
    """The presets by name."""
    presets = (TaskSpec.lm_tiny(), TaskSpec.mlm_tiny(), TaskSpec.cls_tiny())
    return {spec.name: spec for spec in presets}
