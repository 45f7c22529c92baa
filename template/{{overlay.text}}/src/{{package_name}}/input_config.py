"""What this modality adds to the configuration: how a text reaches the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from .config_base import SETTINGS, BaseInputConfig, Kept

Task = Literal["lm", "masked_lm", "text_classification"]

# every byte, and the special tokens: with fewer, some text could not be written down
SMALLEST_VOCABULARY = 256 + 5


@dataclass(config=SETTINGS, kw_only=True)
class InputConfig(BaseInputConfig):
    """Fields that only a text project has."""

    RECORDED: ClassVar[Mapping[str, Any]] = {"max_seq_len": 128, "tokenizer": None}

    max_seq_len: Annotated[Annotated[int, Field(ge=2)] | None, Kept] = None
    """Longest input, in tokens; null for that of the pretrained weights' record, or 128."""

    vocab_size: Annotated[int, Field(ge=SMALLEST_VOCABULARY), Kept] = 1024
    """Tokens of the vocabulary that is learned from the training texts; at most so many."""

    tokenizer: Annotated[str | None, Kept] = None
    """Path of a tokenizer.json to use; null for the record's, or byte-level BPE that is learned."""

    text_column: Annotated[str | None, Kept] = None
    """Column of a table that holds the text; null for one by a usual name."""

    packing: Annotated[Literal[True, False, "separate"], Kept] = True
    """Fill blocks of max_seq_len with texts end to end; false: every text starts a sample.

    separate: short texts share a row in training, whole, and none sees another: what is learned is
    that of false, with little padding. A row is a sample then.
    """

    mlm_probability: Annotated[float, Field(gt=0, lt=1)] = 0.15
    """Share of the tokens that masked_lm hides and learns to guess."""

    pad_to_multiple_of: Annotated[int, Field(ge=1)] = 32
    """Batches are padded to a multiple of so many tokens: few lengths compile to few graphs."""

    @property
    def packs_texts(self) -> bool:
        """Whether texts that do not see each other share rows."""
        return self.packing == "separate"

    def input_problems(self) -> list[str]:
        """Contradictions between the fields, one line each."""
        if self.packs_texts and vars(self).get("task") == "text_classification":
            return ["packing: text_classification has one class a sample; leave separate out"]
        return []
