"""UniversalModelAdapter: any network as a LightningModule."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.optim.lr_scheduler import LambdaLR

from ..architecture import Architecture
from ..config import TrainingConfig
from ..data.known import ROWS
from ..data.module import Batch, FittedTransform, load_modality
from ..data.order import micro_batch_seed
from ..data.processor import processor_files
from ..data.validation_order import ValidationBatches
from ..errors import ModelError, TrainingError
from ..forward import LABELS, ModelSignatureInspector, OutputLayout, find_outputs
from ..serving.runtime.weights import unwrapped
from ..task import TaskSpec
from .accumulation import AccumulationWindow, Signals, WindowTotal, drop_gradients
from .buffers import UNSAVED_BUFFERS, restore_buffers, unsaved_buffers
from .checkpoints import CHECKPOINT_VERSION, MODEL_PREFIX
from .compilation import CACHE_FOLDER, CompileHook, unchanged
from .distributed import CheckedDDPStrategy
from .low_rank import UNMERGED_WEIGHTS
from .metrics import MetricsTracker, WindowRow
from .objective import Monitor, loss_sum_of_members, monitor_of
from .objectives import OBJECTIVES
from .optimizers import make_optimizer
from .parameters import TuningPlan
from .schedule import RunLength, warmup_cosine
from .validation import ValidationMetrics

if TYPE_CHECKING:
    from .frozen_features import FrozenFeatures

# what is neither parameter nor module nor buffer, where an attribute is none already
PLAIN = frozenset((str, float, bool, type(None)))


class UniversalModelAdapter(LightningModule):
    """Trains a network as its configuration says.

    Args:
        generated_model: the network; `forward` takes the inputs of a batch and returns logits.
        config: settings of the run.
        tokenizer: the processor that made the network's inputs, where there is one.
        learning_rate: peak learning rate; the configuration's by default.
        task_spec: the task; the preset of `config.task` by default.
        tracker: where training metrics go; a fresh local one by default.
        run_length: of the whole run, for the learning rate and `compile_mode: auto`; one step by
            default, which suits a network that is not trained.
        trivial_logits: of the answer that looks at no input; where they are given, it is measured
            beside the network, once.
        monitor: the metric that makes a checkpoint the best; what the configuration says by
            default.
        log: takes single lines about what was decided on the way, such as compiling.
        architecture: what built the network; None for one that was given by hand.

    Attributes:
        trivial_metrics: what that answer reaches on the validation samples; empty before.
        stop_requested: set it to end training after the window in progress.
        stop_agreed: every process has reached the end of that window.
        features: what the frozen part makes of every sample, where that is known.
        layouts: where the logits are in what the network returns, in training (True) and in
            evaluation (False), once it was called.
    """

    def __init__(
        self,
        generated_model: nn.Module,
        config: TrainingConfig,
        tokenizer: Any = None,
        learning_rate: float | None = None,
        *,
        task_spec: TaskSpec | None = None,
        tracker: MetricsTracker | None = None,
        run_length: RunLength | None = None,
        trivial_logits: Tensor | None = None,
        monitor: Monitor | None = None,
        log: Callable[[str], None] = lambda line: None,
        architecture: Architecture | None = None,
    ) -> None:
        super().__init__()
        self.model = generated_model
        self.architecture = architecture
        self.given_network = (
            type(unwrapped(generated_model)).__qualname__ if architecture is None else ""
        )
        self.config = config
        self.processor = tokenizer
        self.learning_rate = config.learning_rate if learning_rate is None else learning_rate
        self.task_spec = task_spec or TaskSpec.preset(config.task)
        self.plan = TuningPlan(
            generated_model, config, self.learning_rate, self.task_spec.num_outputs
        )
        self.signature_inspector = ModelSignatureInspector(generated_model)
        self.layouts: dict[bool, OutputLayout] = {}
        self.features: FrozenFeatures | None = None
        self._rows: Tensor | None = None  # of the batch in hand, where features are known
        plain = OBJECTIVES[self.task_spec.task_type]
        self.objective = plain.configured(self.task_spec, config)
        self.monitor = monitor or monitor_of(self.objective, self.task_spec, config)
        self.input_transform = load_modality(self.task_spec.modality).make_input_transform(
            self.task_spec, config
        )
        self._has_fit_inputs = False
        self.window = AccumulationWindow(
            config.gradient_accumulation_steps,
            config.batch_size * self.objective.targets_per_sample(self.task_spec),
        )
        self.tracker = tracker or MetricsTracker(
            gradient_accumulation_steps=config.gradient_accumulation_steps
        )
        self.validation = ValidationMetrics(plain, self.task_spec, tokenizer)
        self.trivial_validation = ValidationMetrics(plain, self.task_spec, tokenizer)
        self.trivial_logits: Tensor | None
        self.register_buffer("trivial_logits", trivial_logits, persistent=False)
        self.trivial_metrics: dict[str, float] = {}
        self.run_length = run_length or RunLength(steps=1)
        self.stop_requested = False
        self.stop_agreed = False
        self.log_line = log
        self.compile_hook = CompileHook(
            generated_model,
            config.compile_mode,
            fullgraph=config.compile_fullgraph,
            dynamic=config.compile_dynamic,
            cache=Path(config.output_dir) / CACHE_FOLDER,
            log=log,
        )
        if config.compile_mode not in (None, "auto"):
            self.compile_hook.compile(config.compile_mode)
        self._peaks: list[float] = []  # learning rate of each parameter group
        self._host_weight: float | None = None
        self._closed: WindowTotal | None = None
        self._measured: dict[str, Tensor] = {}
        self._metrics: dict[str, float] = {}
        self._validated_at = -1  # optimizer step of these metrics
        self._buffers_before: list[Tensor] = []

    def __setattr__(self, name: str, value: Any) -> None:
        """As every module does.

        Lightning notes some forty times in a micro-batch which hook it calls, and torch looks for
        long whether a text might be a parameter.
        """
        if type(value) in PLAIN and name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, batch: Batch) -> Tensor:
        """Logits for a batch.

        Raises:
            ModelError: raw uint8 input that nobody normalised, or a forward that the batch does
                not fit.
        """
        batch = self.input_transform(batch)
        logits, _ = self.outputs(batch, self._network(batch))
        return logits

    def _network(self, batch: Batch) -> Callable[..., Any]:
        """What calls the network on a batch: from its features on, where they are known."""
        if self.features is None or self._rows is None:
            return self.compile_hook.call
        return self.features.network(batch, self._rows, training=self.training)

    def outputs(self, batch: Batch, network: Callable[..., Any]) -> tuple[Tensor, list[Tensor]]:
        """Logits, and in training the auxiliary ones beside them; an ensemble gives each member's.

        Args:
            batch: as the input transform leaves it.
            network: calls the network.

        Raises:
            ModelError: as `forward`, or an output without logits.
        """
        positional, keyword = self._arguments(batch)
        if self.training:
            self.compile_hook.leave_open([*positional, *keyword.values()])
        output = network(*positional, **keyword)
        if self.training not in self.layouts:
            inputs = {name: value for name, value in batch.items() if name != LABELS}
            wanted = self.task_spec.logits_shape(inputs)
            name = self.signature_inspector.model_name
            self.layouts[self.training] = find_outputs(output, wanted, name, training=self.training)
        layout = self.layouts[self.training]
        return layout.logits_of(output), layout.auxiliary_of(output) if self.training else []

    def fit_inputs(self) -> None:
        """Let the input transform see the network, once, where it depends on that.

        Raises:
            ModelError: no inputs suit the network.
        """
        if self._has_fit_inputs or not isinstance(self.input_transform, FittedTransform):
            return
        was_training = self.training
        with unchanged(self.model), torch.compiler.set_stance("force_eager"), torch.no_grad():
            self.eval()
            self.input_transform.fit(self.model, lambda batch: self.outputs(batch, self.model)[0])
        self.train(was_training)
        self._has_fit_inputs = True

    def on_fit_start(self) -> None:
        """Whoever trains without the probe has it done now."""
        self.fit_inputs()

    def _arguments(self, batch: Batch) -> tuple[list[Tensor], dict[str, Tensor]]:
        for name, value in batch.items():
            if value.dtype == torch.uint8:
                raise ModelError(
                    f"{name} reached the network as raw uint8; normalise it in the collator "
                    "(normalize_on: collator) or on the device (normalize_on: device)"
                )
        return self.signature_inspector.arguments(batch)

    # --- one micro-batch -------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Weigh targets while the labels are on the host: nothing has to wait for a GPU later.

        Features are looked up by rows, so these stay there, too.
        """
        self._rows = batch.get(ROWS)
        batch = {name: value for name, value in batch.items() if name != ROWS}
        if self.training:
            self._host_weight = float(self.objective.count(batch[LABELS]))
        return batch

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move every field; from pinned memory nobody waits for it."""
        wait_not = device.type == "cuda"
        return {name: value.to(device, non_blocking=wait_not) for name, value in batch.items()}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Fix the random numbers of this micro-batch; before the first one, compile.

        They depend on seed, epoch, micro-batch and process alone, so that a resumed run draws what
        an uninterrupted one would.
        """
        seed = micro_batch_seed(
            self.config.seed, self.trainer.current_epoch, batch_idx, self.trainer.global_rank
        )
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":  # torch.manual_seed would cost more than a small step
            torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)  # with which some networks of transformers draw masks
        if self.compile_hook.compilation is None and self.features is None:
            self._warm_up(batch)
        if self.config.on_nonfinite == "skip" and not self.window.is_open:
            self._buffers_before = [buffer.clone() for buffer in self.model.buffers()]

    def _warm_up(self, batch: Batch) -> None:
        if isinstance(self.trainer.strategy.model, FullyShardedDataParallel):
            return  # its shards cannot be called one step early; CompileHook.call guards them still

        def step() -> Tensor:
            with self.trainer.precision_plugin.train_step_context():
                return self.loss_sum(batch, self.model) / self.window.constant

        remaining = self.run_length.micro_batches
        compilation = self.compile_hook.warm_up(step, remaining_steps=remaining)
        if self.config.compile_mode is not None:
            self.log_line(str(compilation))

    def loss_sum(self, batch: Batch, network: Callable[..., Any] | None = None) -> Tensor:
        """Loss of a batch, summed over its targets; that of auxiliary logits counts by a weight.

        C. Szegedy et al., "Going Deeper with Convolutions", 2015.

        Args:
            batch: as it comes from the loader.
            network: calls the network; as training does by default.
        """
        batch = self.input_transform(batch)  # it may mix samples, and their labels with them
        logits, auxiliary = self.outputs(batch, network or self._network(batch))
        loss_sum = self.objective.loss_sum
        if self.layouts[self.training].of_members:
            loss_sum = partial(loss_sum_of_members, loss_sum)
        loss = loss_sum(logits, batch[LABELS])
        for other in auxiliary:
            loss = loss + self.config.auxiliary_weight * loss_sum(other, batch[LABELS])
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The share of one micro-batch in its window's loss."""
        weight = self._weigh(batch[LABELS])
        self.tracker.begin_micro_batch(weight)
        loss_sum = self.loss_sum(batch)
        self.tracker.log_micro_batch(loss_sum.detach())
        return self.window.scale_loss(loss_sum, weight)

    # Lightning asks in every micro-batch what this takes; kept, the answer takes half as long
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    def _weigh(self, labels: Tensor) -> float:
        weight, self._host_weight = self._host_weight, None
        return float(self.objective.count(labels)) if weight is None else weight

    # --- one optimizer step ----------------------------------------------------------------------

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The accumulated sums become the gradient of the mean; it is clipped next."""
        signals = Signals(stop=self.stop_requested, fallback=self.compile_hook.wants_fallback)
        self._closed = self.window.normalize_gradients(self.plan.parameters.values(), signals)
        if self._closed.is_empty:
            warnings.warn(
                f"optimizer step {self.tracker.optimizer_step + 1}: no sample of the window has a "
                "target, so nothing was learned from it",
                stacklevel=2,
            )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip to a norm, which is measured anyway; drop the window if it must be skipped."""
        limit = float(gradient_clip_val or math.inf)
        network = self.trainer.strategy.model
        if isinstance(network, FullyShardedDataParallel):
            norm = network.clip_grad_norm_(limit)
        else:
            norm = nn.utils.clip_grad_norm_(self.plan.parameters.values(), limit)
        self._measured = {"grad_norm": norm.detach()}
        if self.config.on_nonfinite == "skip":
            self._skip_if_nonfinite(norm)

    def _skip_if_nonfinite(self, norm: Tensor) -> None:
        """Every process sees the same sums and gradients, hence decides the same."""
        assert self._closed is not None
        scaled = self.config.precision == "16-mixed"  # its gradients overflow by design
        watched = [self._closed.loss_sum, *([] if scaled else [norm])]
        if all(math.isfinite(value.item()) for value in watched):
            return
        drop_gradients(self.plan.parameters.values())
        for buffer, before in zip(self.model.buffers(), self._buffers_before, strict=True):
            buffer.copy_(before)  # running statistics have seen what was skipped
        self.tracker.skipped_windows += 1
        warnings.warn(
            f"optimizer step {self.tracker.optimizer_step + 1}: loss or gradient are not finite; "
            f"this window was skipped, {self.tracker.skipped_windows} so far",
            stacklevel=2,
        )

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        """Step, then hand the window's numbers to the tracker."""
        learning_rate = optimizer.param_groups[0]["lr"]
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        assert self._closed is not None
        self.tracker.end_window(
            epoch, self._closed, {"learning_rate": learning_rate}, self._measured
        )
        self._closed = None
        # on a GPU one window is left under way, so that nobody waits for it
        self.flush_windows(keep=int(self.device.type == "cuda"))
        self.compile_hook.watch()

    def flush_windows(self, *, keep: int = 0) -> None:
        """Write the rows of closed windows and act on what they say.

        Args:
            keep: how many of the newest to leave for later.

        Raises:
            TrainingError: one was not finite, and the configuration says to stop then.
        """
        for row in self.tracker.flush(keep=keep):
            self.stop_agreed |= row.signals.stop
            if row.signals.fallback:
                self.compile_hook.follow()
            if self.config.on_nonfinite == "stop":
                self._check_finite(row)

    def _check_finite(self, done: WindowRow) -> None:
        norm = done.row["grad_norm"]
        scaled = self.config.precision == "16-mixed"
        if math.isfinite(done.loss_sum) and (scaled or math.isfinite(norm)):
            return
        bad = [n for n, loss in enumerate(done.losses, 1) if not math.isfinite(loss)]
        where = f"micro-batch {bad[0]} of {len(done.losses)}" if bad else "no micro-batch here"
        raise TrainingError(
            f"the loss is {done.row.get('train/loss', math.nan)} at optimizer step "
            f"{done.row['optimizer_step']} of epoch {done.row['epoch']}, first in {where}; "
            f"learning rate {done.row['learning_rate']:.3g}, gradient norm {norm:.3g}. The last "
            "checkpoint is from before; try a lower learning_rate, or on_nonfinite: skip"
        )

    def on_train_end(self) -> None:
        """The last word about compiling."""
        self.compile_hook.finish()

    # --- validation ------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Every process validates with the buffers that a checkpoint holds: those of the first."""
        self.flush_windows()
        if self.trainer.world_size > 1:
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the epoch's metrics."""
        labels, logits = batch[LABELS], self(batch)
        loader: Any = self.trainer.val_dataloaders
        batches = loader.batch_sampler
        if isinstance(batches, ValidationBatches) and not batches.counts(batch_idx):
            return  # another process still has samples
        fields = {name: value for name, value in batch.items() if name != LABELS}
        self.validation.update(logits, labels, **fields)
        if self._measures_trivial():
            assert self.trivial_logits is not None
            self.trivial_validation.update(self.trivial_logits.expand_as(logits), labels, **fields)

    def _measures_trivial(self) -> bool:
        """Validation samples do not change, so once is enough."""
        return self.trivial_logits is not None and not self.trivial_metrics

    def on_validation_epoch_end(self) -> None:
        """Metrics over all samples and processes, for the tracker and the checkpoints.

        Raises:
            TrainingError: the validation samples do not tell the metric that is monitored.
        """
        metrics = self.validation.compute()
        if self.monitor.column not in metrics:
            raise TrainingError(
                f"monitor: no validation sample tells {self.monitor.column.removeprefix('val/')}"
            )
        self.log_dict(metrics, logger=False, sync_dist=self.trainer.world_size > 1)
        self._metrics = {name: float(value) for name, value in metrics.items()}
        self._validated_at = self.trainer.global_step
        self.tracker.log_epoch(self.trainer.current_epoch, self._metrics)
        if self._measures_trivial():
            trivial = self.trivial_validation.compute()
            self.trivial_metrics = {name: float(value) for name, value in trivial.items()}

    # --- optimiser -------------------------------------------------------------------------------

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The configured one, warmed up and annealed over the run's optimizer steps."""
        optimizer = make_optimizer(
            self.config, self.plan.groups(), self.plan.matrices, self.learning_rate
        )
        self._peaks = [group["lr"] for group in optimizer.param_groups]
        if self.config.weight_decay and "weight_decay" not in optimizer.defaults:
            self.log_line(f"weight_decay: {self.config.optimizer} has none, so it is not used")
        schedule = warmup_cosine(optimizer, self.config.warmup_ratio, self.run_length)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Present rates act from the first step on; a checkpoint has brought those before."""
        optimizer, schedule = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(schedule, LambdaLR)
        schedule.base_lrs = [*self._peaks]
        for group, peak, factor in zip(
            optimizer.param_groups, self._peaks, schedule.lr_lambdas, strict=True
        ):
            group["initial_lr"] = peak
            group["lr"] = peak * factor(schedule.last_epoch)
        self._thaw_when_due()
        if self.plan.frozen:
            self.log_line(f"freeze: {self.plan}")

    def on_train_epoch_start(self) -> None:
        """Train what was frozen once it is time; inside an epoch, `on_train_start` looks."""
        self._thaw_when_due()

    def _thaw_when_due(self) -> None:
        if not self.plan.is_due(self.trainer.current_epoch):
            return
        self.plan.thaw()
        self.compile_hook.compile_anew()
        self.features = None
        self.log_line(f"all is trained from epoch {self.trainer.current_epoch + 1} on")
        strategy = self.trainer.strategy
        if isinstance(strategy, CheckedDDPStrategy):
            strategy.wrap_again()

    def train(self, mode: bool = True) -> Self:
        """Train mode, but for what is held still."""
        super().train(mode)
        self.plan.hold()
        return self

    # --- checkpoints -----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint says by itself what it is a checkpoint of.

        Raises:
            TrainingError: the run has gone wrong since the last one, which is kept instead.
        """
        self.flush_windows()
        checkpoint["checkpoint_version"] = CHECKPOINT_VERSION
        checkpoint["config"] = self.config.to_dict()
        checkpoint["defaults"] = TrainingConfig.from_dict({}).to_dict()
        checkpoint["processor"] = self._processor_files
        checkpoint["given_network"] = self.given_network
        checkpoint["architecture"] = self.architecture.keep() if self.architecture else None
        checkpoint["task_spec"] = self.task_spec.to_dict()
        is_validated = self._validated_at == self.trainer.global_step
        checkpoint["metrics"] = self._metrics if is_validated else {}
        checkpoint["trivial_metrics"] = self.trivial_metrics
        checkpoint["tracker"] = self.tracker.state_dict()
        checkpoint[UNSAVED_BUFFERS] = unsaved_buffers(self.model)
        if self.plan.low_rank is not None:
            weights = {n.removeprefix(MODEL_PREFIX): v for n, v in checkpoint["state_dict"].items()}
            plain = self.plan.low_rank.merged(weights)
            checkpoint[UNMERGED_WEIGHTS] = checkpoint["state_dict"]
            checkpoint["state_dict"] = {MODEL_PREFIX + name: v for name, v in plain.items()}

    @cached_property
    def _processor_files(self) -> dict[str, Tensor]:
        """Without them, nobody could tell what a network's inputs mean: uint8 [N] by name."""
        files = processor_files(load_modality(self.task_spec.modality), self.processor)
        return {
            name: torch.frombuffer(bytearray(content), dtype=torch.uint8)
            for name, content in files.items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Step counts and corrections go on where they were."""
        if self.plan.low_rank is not None:
            checkpoint["state_dict"] = checkpoint[UNMERGED_WEIGHTS]
        restore_buffers(self.model, checkpoint[UNSAVED_BUFFERS])
        self.tracker.load_state_dict(checkpoint["tracker"])
        self.trivial_metrics = checkpoint["trivial_metrics"]
