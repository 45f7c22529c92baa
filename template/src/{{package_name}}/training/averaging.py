"""An exponential moving average of the weights, which is what is judged, kept and exported."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import get_ema_multi_avg_fn

from .adapter import UniversalModelAdapter
from .checkpoints import MODEL_PREFIX

# where a checkpoint keeps the weights that training goes on with: its `state_dict` is the average
TRAINED_WEIGHTS = "trained_weights"


class WeightAverage(Callback):
    """Averages the weights after each optimizer step, and lets validation and checkpoints have it.

    Lightning's WeightAveraging averages every buffer, whole numbers and attention masks included.
    Here running statistics of normalisation are averaged beside the weights, because they belong
    to them; other buffers stay what they are.

    The first steps weigh more, so that random weights are soon forgotten: step n decays what was
    there before by min(decay, (1 + n) / (10 + n)).

    Args:
        decay: share of the average that a step leaves, between 0 and 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self._updated_at = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin with the weights there are."""
        assert isinstance(pl_module, UniversalModelAdapter)
        tensors = averaged_tensors(pl_module.model)
        self.average = {name: tensor.detach().clone() for name, tensor in tensors}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move to the device, where the weights are by now."""
        assert isinstance(pl_module, UniversalModelAdapter)
        for name, tensor in averaged_tensors(pl_module.model):
            self.average[name] = self.average[name].to(tensor.device)
        self._updated_at = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One update for each optimizer step."""
        assert isinstance(pl_module, UniversalModelAdapter)
        step = trainer.global_step
        if step == self._updated_at:
            return
        self._updated_at = step
        decay = min(self.decay, (1 + step) / (10 + step))
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        by_kind: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for name, tensor in averaged_tensors(pl_module.model):
            averages, currents = by_kind.setdefault(tensor.dtype, ([], []))
            averages.append(self.average[name])
            currents.append(tensor)
        for averages, currents in by_kind.values():
            update(averages, currents, step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate the average; the processes get the first one's statistics after this."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the weights that are trained."""
        self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, UniversalModelAdapter)
        for name, tensor in averaged_tensors(pl_module.model):
            trained = tensor.detach().clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(trained)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the network."""
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """A checkpoint's weights are the average; those to go on with lie beside it."""
        assert isinstance(pl_module, UniversalModelAdapter)
        names = {id(tensor): name for name, tensor in averaged_tensors(pl_module.model)}
        weights = dict(checkpoint["state_dict"])
        trained: dict[str, Tensor] = {}
        # a tensor may lie in it under several names
        for key, tensor in pl_module.model.state_dict(keep_vars=True).items():
            if id(tensor) in names:
                trained[MODEL_PREFIX + key] = weights[MODEL_PREFIX + key]
                weights[MODEL_PREFIX + key] = self.average[names[id(tensor)]]
        checkpoint["state_dict"] = weights
        checkpoint[TRAINED_WEIGHTS] = trained

    @torch.no_grad()
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with both."""
        assert isinstance(pl_module, UniversalModelAdapter)
        trained = checkpoint[TRAINED_WEIGHTS]
        for name, tensor in averaged_tensors(pl_module.model):
            key = f"{MODEL_PREFIX}{name}"
            self.average[name] = checkpoint["state_dict"][key].clone()
            tensor.copy_(trained[key])


def averaged_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights and running statistics of a network, each once, by name."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point():
            yield name, parameter
    for name, module in model.named_modules():
        if isinstance(module, _NormBase) and module.running_mean is not None:
            for statistic in ("running_mean", "running_var"):
                yield f"{name}.{statistic}".removeprefix("."), getattr(module, statistic)
