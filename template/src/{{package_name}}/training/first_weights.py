"""The weights that a new run begins with: pretrained ones, or random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from ..architecture import Architecture
from ..config import TrainingConfig
from ..data.module import UniversalDataModule
from ..pretrained.loading import Vocabulary, load_weights
from ..pretrained.sources import Source
from ..task import TaskSpec

# with fewer training samples, a network that knows nothing learns little
FEW_SAMPLES = 5_000

# whose networks are known to begin with random weights
LIBRARIES = ("builtin", "torchvision", "timm", "transformers")


def load_first_weights(
    network: nn.Module,
    source: Source,
    config: TrainingConfig,
    data: UniversalDataModule,
    say: Callable[[str], None],
    architecture: Architecture | None = None,
) -> TrainingConfig:
    """Put pretrained weights into a network; gives the settings with the head that was found.

    Args:
        network: with fresh weights; changed in place.
        source: of the weights.
        config: settings of the run.
        data: of the run.
        say: takes a line about what was loaded.
        architecture: of the network, where it was built by one.

    Raises:
        ModelError: weights that cannot be read, or do not fit.
        ConfigError: a glob of `head` fits nothing.
    """
    loaded = load_weights(
        network,
        source.read(network, architecture),
        config,
        data.task_spec.num_outputs,
        name=source.name,
        vocabulary=_vocabulary(data),
    )
    for line in loaded.lines:
        say(line)
    return config if loaded.new is None else replace(config, head=loaded.new)


def _vocabulary(data: UniversalDataModule) -> Vocabulary | None:
    """Of the tokenizer, where there is one."""
    size = data.task_spec.input_schema.get("vocab_size")
    if size is None or data.processor is None:
        return None
    # GPT-2 and others begin a text with the token that ends one
    return Vocabulary(size, {data.processor.bos_token_id: data.processor.eos_token_id})


def warn_of_random_weights(
    config: TrainingConfig, data: UniversalDataModule, say: Callable[[str], None]
) -> None:
    """Say where few samples are to teach a network that knows nothing, and others know something.

    Where no record of weights says how inputs are read, nobody has weights for such.
    """
    assert data.splits is not None
    count = len(data.splits.train)
    library = config.model.partition(":")[0]
    if config.pretrained is not None or count >= FEW_SAMPLES or library not in LIBRARIES:
        return
    if config.RECORDED and not _is_sample(config, data.task_spec):
        say(
            f"{count} samples are few for random weights; begin with trained ones: --model "
            "LIBRARY:NAME --pretrained default"
        )


def _is_sample(config: TrainingConfig, task_spec: TaskSpec) -> bool:
    """Whether these are the built-in samples, by the names of their outputs or their place."""
    known = TaskSpec.preset(task_spec.task_type).class_names
    if known:
        return task_spec.class_names == known
    return config.data == str(TrainingConfig.defaults()["data"])
