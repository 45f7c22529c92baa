"""Texts: the dataset and the collators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ..config import TrainingConfig
from ..forward import IGNORED
from ..preprocessing import TextTokenizer, document_ids
from ..task import TaskSpec
from .known import samples_of
from .module import Batch, Method
from .order import Key, as_key, sample_seed
from .packed_rows import POSITIONS, TEXTS, PackedInputs, PackedRows
from .packing import Packing, lengths_of
from .reading import PROCESSOR_FILES as PROCESSOR_FILES
from .reading import count_repeated as count_repeated
from .reading import examine as examine
from .reading import fingerprint as fingerprint
from .reading import keep_example as keep_example
from .reading import load_processor as load_processor
from .reading import places as places
from .reading import read_samples as read_samples
from .reading import read_splits as read_splits
from .reading import review as review
from .reading import save_processor as save_processor

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

    from .module import UniversalDataModule

# tokens are mapped into memory as they are
IS_DEAR = False

# --- Samples -------------------------------------------------------------------------------------


class TextDataset(Dataset[dict[str, Any]]):
    """Samples `{"input_ids": int64 [T], "seed": ...}`, by (epoch, index); `labels` for classes.

    Those to validate language models on have `text_bytes`, too, int64 [T]: how many bytes of text
    each token stands for.

    The seed fixes whatever a collator chooses at random for the sample.

    Args:
        rows: table with `input_ids` and, for classification, `labels`.
        seed: of the run.
        training: choose anew in every epoch; otherwise as in the first.
    """

    def __init__(self, rows: datasets.Dataset, *, seed: int = 0, training: bool = True) -> None:
        self.labelled = "labels" in rows.column_names
        self.measured = "text_bytes" in rows.column_names
        self.rows = rows.with_format("arrow")
        self.seed, self.training = seed, training

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Key | int) -> dict[str, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, given: Sequence[Key | int]) -> list[dict[str, Any]]:
        """The samples of a batch, which torch's loader asks for: far less work than one by one."""
        keys = [as_key(key) for key in given]
        table = self.rows[[key[1] for key in keys]]
        seeds = [sample_seed(self.seed, key if self.training else (0, key[1])) for key in keys]
        columns: dict[str, Sequence[Any]] = {"input_ids": _lists(table, "input_ids"), "seed": seeds}
        if self.measured:
            columns["text_bytes"] = _lists(table, "text_bytes")
        if self.labelled:
            columns["labels"] = table.column("labels").to_pylist()
        samples = zip(*columns.values(), strict=True)
        return [dict(zip(columns, values, strict=True)) for values in samples]


def _lists(table: pa.Table, name: str) -> Sequence[Tensor]:
    """The rows of a column of lists, each int64 [T]."""
    lists = table.column(name).combine_chunks()
    offsets = lists.offsets.to_numpy()
    values = lists.values.to_numpy()[offsets[0] : offsets[-1]].astype(np.int64)
    return torch.split(torch.from_numpy(values), np.diff(offsets).tolist())


def make_dataset(
    rows: datasets.Dataset, task_spec: TaskSpec, config: TrainingConfig, *, training: bool
) -> TextDataset | PackedRows:
    """The rows as samples; validation hides the same tokens every time, and packs nothing."""
    texts = TextDataset(rows, seed=config.seed, training=training)
    if not (training and config.packs_texts):
        return texts
    packing = Packing.of(lengths_of(rows), task_spec.input_schema["max_seq_len"])
    return PackedRows(texts, packing, seed=config.seed)


# ids are cheap to read, and some networks look for the padding among them
make_blanks = make_dataset


def changes(task_spec: TaskSpec, config: TrainingConfig) -> str:
    """A masked language model guesses other tokens in each epoch; rows hold other texts."""
    if config.packs_texts:
        return "packing"
    return "masking" if config.task == "masked_lm" else ""


# --- Batches -------------------------------------------------------------------------------------


class LanguageModelingDataCollator:
    """Pad samples to a batch and make the labels that a language model learns from.

    Causal: the labels are the inputs; the loss moves them by one. Masked: `mlm_probability` of the
    tokens are selected, never a special one; of these 80 % are replaced by the mask, 10 % by a
    random token, and 10 % stay (J. Devlin et al., "BERT", 2019). Only selected tokens have a label.
    A sample too short for its share has one token selected.

    Args:
        tokenizer: knows the special ids. It may be set later, but before the first batch.
        mlm: hide tokens and learn to guess them.
        mlm_probability: share of the tokens to select.
        pad_to_multiple_of: lengths of batches are multiples of it; None for as long as needed.
        max_length: no batch is padded beyond it.

    Raises:
        ValueError: mlm_probability is not between 0 and 1.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer | Tokenizer | None,
        mlm: bool = False,
        mlm_probability: float = 0.15,
        pad_to_multiple_of: int | None = None,
        *,
        max_length: int | None = None,
    ) -> None:
        if not 0 < mlm_probability < 1:
            raise ValueError(f"mlm_probability must lie between 0 and 1, got {mlm_probability}")
        self.tokenizer = TextTokenizer(tokenizer) if isinstance(tokenizer, Tokenizer) else tokenizer
        self.mlm = mlm
        self.mlm_probability = mlm_probability
        self.pad_to_multiple_of = pad_to_multiple_of
        self.max_length = max_length

    def __call__(self, batch: list[dict[str, Any]]) -> Batch:
        """Collate samples `{"input_ids": [T], "seed": int}`.

        With a seed, what is hidden is a function of it alone, whatever batch or worker the sample
        falls to; without, torch's generator decides.

        Returns:
            `input_ids`, `attention_mask` (1 for tokens, 0 for padding) and `labels` (-100 where
            nothing is to be predicted), all int64 [B, T], as is `text_bytes` where samples have it.
        """
        tokenizer = _known(self.tokenizer)
        inputs = [torch.as_tensor(sample["input_ids"], dtype=torch.int64) for sample in batch]
        labels = inputs
        if self.mlm:
            seeds = [sample.get("seed") for sample in batch]
            hidden = [self._hide(ids, seed) for ids, seed in zip(inputs, seeds, strict=True)]
            inputs, labels = [ids for ids, _ in hidden], [targets for _, targets in hidden]
        length = _padded_length(max(map(len, inputs)), self.pad_to_multiple_of, self.max_length)
        collated = {
            "input_ids": _pad(inputs, length, tokenizer.pad_token_id),
            "attention_mask": _attention_mask(inputs, length),
            "labels": _pad(labels, length, IGNORED),
        }
        if "text_bytes" in batch[0]:
            collated["text_bytes"] = _pad([sample["text_bytes"] for sample in batch], length, 0)
        return collated

    def _hide(self, ids: Tensor, seed: int | None) -> tuple[Tensor, Tensor]:
        """Inputs with tokens hidden, and what they were: IGNORED where nothing was selected."""
        tokenizer = _known(self.tokenizer)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        special, ordinary = _special_and_ordinary(tokenizer)
        draws = torch.rand(len(ids), generator=generator)
        is_special = torch.isin(ids, special)
        chosen = (draws < self.mlm_probability) & ~is_special
        if not chosen.any() and not is_special.all():
            chosen[torch.where(is_special, 1, draws).argmin()] = True
        fate = torch.rand(len(ids), generator=generator)
        random = ordinary[torch.randint(len(ordinary), (len(ids),), generator=generator)]
        inputs = torch.where(chosen & (fate < 0.8), tokenizer.mask_token_id, ids)
        inputs = torch.where(chosen & (fate >= 0.9), random, inputs)
        return inputs, torch.where(chosen, ids, IGNORED)


class PackingCollator:
    """Lays the texts of a row end to end. Samples that are one text it leaves to another collator.

    Args:
        collator: of the texts. What it makes of them is what is learned, but for labels that would
            be guessed from the text before.
    """

    def __init__(self, collator: LanguageModelingDataCollator) -> None:
        self.collator = collator

    def __call__(self, batch: list[dict[str, Any]]) -> Batch:
        """Collate rows `{"texts": [sample, ...]}`.

        Returns:
            `input_ids`, `attention_mask` and `labels` as of texts, and `position_ids`, which begin
            anew, at 0, with each text, and are 0 in the padding; all int64 [B, T].
        """
        if TEXTS not in batch[0]:
            return self.collator(batch)
        texts = self.collator([text for row in batch for text in row[TEXTS]])  # each [N, longest]
        is_token = texts["attention_mask"].bool()
        texts[POSITIONS] = torch.arange(is_token.shape[1]).expand_as(is_token)
        if not self.collator.mlm:
            texts["labels"][:, 0] = IGNORED

        lengths = is_token.sum(1)
        row = torch.repeat_interleave(torch.tensor([len(row[TEXTS]) for row in batch]))  # [N]
        used = torch.zeros(len(batch), dtype=torch.int64).index_add_(0, row, lengths)
        width = _padded_length(
            int(used.max()), self.collator.pad_to_multiple_of, self.collator.max_length
        )
        # all that lies before a text, but for other rows
        begin = lengths.cumsum(0) - lengths - (used.cumsum(0) - used)[row]
        places = ((row * width + begin)[:, None] + texts[POSITIONS])[is_token]
        padding = _known(self.collator.tokenizer).pad_token_id
        fills = {"input_ids": padding, "attention_mask": 0, "labels": IGNORED, POSITIONS: 0}
        packed = {}
        for name, fill in fills.items():
            packed[name] = torch.full((len(batch), width), fill, dtype=torch.int64)
            packed[name].view(-1)[places] = texts[name][is_token]
        return packed


class TextClassificationDataCollator:
    """Pad samples to a batch; each has one class.

    Args:
        tokenizer: knows the padding. It may be set later, but before the first batch.
        pad_to_multiple_of, max_length: as in `LanguageModelingDataCollator`.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer | None,
        pad_to_multiple_of: int | None = None,
        *,
        max_length: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.pad_to_multiple_of = pad_to_multiple_of
        self.max_length = max_length

    def __call__(self, batch: list[dict[str, Any]]) -> Batch:
        """Collate samples `{"input_ids": [T], "labels": int}`.

        Returns:
            `input_ids` and `attention_mask`, int64 [B, T]; `labels`, int64 [B].
        """
        inputs = [torch.as_tensor(sample["input_ids"], dtype=torch.int64) for sample in batch]
        length = _padded_length(max(map(len, inputs)), self.pad_to_multiple_of, self.max_length)
        return {
            "input_ids": _pad(inputs, length, _known(self.tokenizer).pad_token_id),
            "attention_mask": _attention_mask(inputs, length),
            "labels": torch.tensor([int(sample["labels"]) for sample in batch]),
        }


@lru_cache(maxsize=1)
def _special_and_ordinary(tokenizer: TextTokenizer) -> tuple[Tensor, Tensor]:
    """Ids that are never hidden, and those to hide others with, both ascending."""
    special = torch.tensor(tokenizer.all_special_ids, dtype=torch.int64)
    ids = torch.arange(len(tokenizer))
    return special, ids[~torch.isin(ids, special)]


def _known(tokenizer: TextTokenizer | None) -> TextTokenizer:
    if tokenizer is None:
        raise ValueError("the collator has no tokenizer yet; set it before the first batch")
    return tokenizer


def _padded_length(longest: int, multiple: int | None, limit: int | None) -> int:
    length = longest if multiple is None else -(-longest // multiple) * multiple
    return length if limit is None else max(longest, min(length, limit))


def _pad(rows: list[Tensor], length: int, value: int) -> Tensor:
    padded = pad_sequence(rows, batch_first=True, padding_value=value)
    return nn.functional.pad(padded, (0, length - padded.shape[1]), value=value)


def _attention_mask(inputs: list[Tensor], length: int) -> Tensor:
    lengths = torch.tensor([len(ids) for ids in inputs])
    return (torch.arange(length) < lengths[:, None]).to(torch.int64)


def make_collator(
    task_spec: TaskSpec, config: TrainingConfig, tokenizer: TextTokenizer | None
) -> LanguageModelingDataCollator | TextClassificationDataCollator | PackingCollator:
    """The collator of the task."""
    max_length = task_spec.input_schema["max_seq_len"]
    if task_spec.task_type == "text_classification":
        return TextClassificationDataCollator(
            tokenizer, config.pad_to_multiple_of, max_length=max_length
        )
    collator = LanguageModelingDataCollator(
        tokenizer,
        mlm=task_spec.task_type == "masked_lm",
        mlm_probability=config.mlm_probability,
        pad_to_multiple_of=config.pad_to_multiple_of,
        max_length=max_length,
    )
    return PackingCollator(collator) if config.packs_texts else collator


def make_input_transform(task_spec: TaskSpec, config: TrainingConfig) -> nn.Module:
    """Ids need no further work on the device, unless texts share rows."""
    return PackedInputs(task_spec) if config.packs_texts else nn.Identity()


def rivals(task_spec: TaskSpec, config: TrainingConfig) -> dict[str, Method]:
    """None."""
    return {}


def benchmarks(data: UniversalDataModule, config: TrainingConfig) -> dict[str, Callable[[], int]]:
    """Steps from texts to a micro-batch; each returns its number of samples."""
    assert data.splits is not None
    tokenizer: TextTokenizer = data.splits.processor
    dataset = make_dataset(data.splits.train, data.task_spec, config, training=True)
    keys = [(0, index) for index in range(min(config.batch_size, data.samples_per_epoch))]
    samples = samples_of(dataset, keys)
    texts = [
        tokenizer.decode(text["input_ids"].tolist())
        for sample in samples
        for text in sample.get(TEXTS, [sample])
    ]

    def tokenise() -> int:
        for text in texts:
            document_ids(tokenizer, text)
        return len(samples)

    return {
        "tokenise": tokenise,
        "read from the cache": lambda: len(samples_of(dataset, keys)),
        "collate": lambda: len(data.collator(samples)["input_ids"]),
    }
