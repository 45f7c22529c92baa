"""What takes the steps: an optimizer by its name, of torch or of timm where that is installed."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from ..config import TrainingConfig, nearest
from ..errors import ConfigError, TrainingError
from ..libraries import how_to_add

# arguments of optimizers that are settings of their own, or follow from others
DECIDED = {
    "params": "freeze",
    "lr": "learning_rate",
    "weight_decay": "weight_decay",
    "fused": "precision",
}

# what libraries raise for a wrong value, or where they get no closure or second derivative
STEP_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)

# where torch keeps the names of a group's parameters, in an optimizer and in its state
NAMES = "param_names"


class MuonAndAdamW(Optimizer):
    """Muon for the matrices between a network's embedding and its head, AdamW for all the rest.

    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024. Its steps are
    scaled to be as large as those of AdamW, so that one learning rate suits both: J. Liu et al.,
    "Muon is Scalable for LLM Training", 2025.

    Args:
        groups: with named parameters, as of `TuningPlan.groups`.
        matrices: names of the parameters [N, M] that Muon gets.
        lr, weight_decay: of groups that say nothing else.
        arguments: of `torch.optim.Muon`.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        matrices: Collection[str],
        *,
        lr: float,
        weight_decay: float,
        adjust_lr_fn: str = "match_rms_adamw",
        **arguments: Any,
    ) -> None:
        of_muon = [_part(group, lambda name: name in matrices) for group in groups]
        of_adamw = [_part(group, lambda name: name not in matrices) for group in groups]
        of_muon, of_adamw = ([g for g in part if g["params"]] for part in (of_muon, of_adamw))
        self.parts: list[Optimizer] = []
        if of_muon:
            self.parts.append(
                Muon(of_muon, lr, weight_decay, adjust_lr_fn=adjust_lr_fn, **arguments)
            )
        if of_adamw:
            self.parts.append(AdamW(of_adamw, lr, weight_decay=weight_decay))
        self.sizes = [len(part.param_groups) for part in self.parts]
        super().__init__(
            [group for part in self.parts for group in part.param_groups],
            {"lr": lr, "weight_decay": weight_decay},
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both.

        Args:
            closure: computes gradients and returns the loss.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        start = 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            part.param_groups = self.param_groups[start : start + size]  # loading makes new ones
            part.state = self.state
            part.step()
            start += size
        return loss


def _part(group: Mapping[str, Any], takes: Callable[[str], bool]) -> dict[str, Any]:
    return {**group, "params": [(name, p) for name, p in group["params"] if takes(name)]}


@dataclass(frozen=True)
class OptimizerKind:
    """An optimizer that settings name.

    Attributes:
        name: of it.
        make: called with parameter groups, `lr`, `weight_decay` where it has any, and arguments.
        arguments: what it takes beside parameters.
    """

    name: str
    make: Callable[..., Optimizer]
    arguments: frozenset[str]

    @property
    def decays(self) -> bool:
        """Whether it knows weight decay."""
        return "weight_decay" in self.arguments


def find_optimizer(config: TrainingConfig) -> OptimizerKind:
    """The optimizer that `config.optimizer` names, tried out with `config.optimizer_args`.

    Raises:
        ConfigError: there is none by that name, it needs more than a gradient, or it does not take
            the arguments.
    """
    name = config.optimizer
    kind = _of_torch().get(name) or _of_timm(name)
    if kind is None:
        known = sorted({*_of_torch(), *_names_of_timm()})
        where = "torch.optim and timm.optim have" if _names_of_timm() else "torch.optim has"
        remedy = "" if _names_of_timm() else f"; timm.optim has more: {how_to_add('timm')}"
        raise ConfigError(
            [f"optimizer: {where} no {config.optimizer!r}{nearest(name, known) or remedy}"]
        )
    _check_arguments(kind, config.optimizer_args)
    if reason := _fails(kind, {}):
        raise ConfigError([f"optimizer: {kind.name} needs more than gradients; {reason}"])
    if reason := _fails(kind, config.optimizer_args):
        raise ConfigError([f"optimizer_args: {kind.name} does not take them; {reason}"])
    return kind


@cache
def _of_torch() -> dict[str, OptimizerKind]:
    found = {
        name.lower(): OptimizerKind(name.lower(), cls, _parameters(cls))
        for name, cls in vars(torch.optim).items()
        if isinstance(cls, type) and issubclass(cls, Optimizer) and cls is not Optimizer
    }
    # it makes Muon's parameters those of the pair
    return found | {"muon": OptimizerKind("muon", MuonAndAdamW, _parameters(Muon))}


@cache
def _timm() -> Any:
    """timm.optim; None where timm is not installed."""
    try:
        return importlib.import_module("timm.optim")
    except ModuleNotFoundError:
        return None


def _names_of_timm() -> list[str]:
    return [] if _timm() is None else list(_timm().list_optimizers())


def _of_timm(name: str) -> OptimizerKind | None:
    if name not in _names_of_timm():
        return None
    make = _timm().get_optimizer_class(name, bind_defaults=True)
    return OptimizerKind(name, make, _parameters(_timm().get_optimizer_info(name).opt_class))


def _parameters(cls: type[Optimizer]) -> frozenset[str]:
    return frozenset(inspect.signature(cls).parameters)


def _check_arguments(kind: OptimizerKind, arguments: Mapping[str, Any]) -> None:
    problems = []
    free = sorted(kind.arguments - DECIDED.keys())
    for name in arguments:
        if name in DECIDED:
            problems.append(f"optimizer_args: {name} follows from {DECIDED[name]}; set that")
        elif name not in free:
            hint = nearest(name, free) or f"; it takes {', '.join(free)}"
            problems.append(f"optimizer_args: {kind.name} takes no {name!r}{hint}")
    if problems:
        raise ConfigError(problems)


def _fails(kind: OptimizerKind, arguments: Mapping[str, Any]) -> str:
    """Why it cannot step on a small matrix, as only trying tells; empty where it can."""
    matrix = nn.Parameter(torch.ones(2, 2))
    try:
        optimizer = _build(kind, [{"params": [("matrix", matrix)]}], {"matrix"}, 1e-3, arguments)
        for _ in range(2):
            matrix.grad = torch.ones(2, 2)
            optimizer.step()
    except STEP_ERRORS as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _build(
    kind: OptimizerKind,
    groups: Sequence[dict[str, Any]],
    matrices: Collection[str],
    learning_rate: float,
    arguments: Mapping[str, Any],
) -> Optimizer:
    options: dict[str, Any] = {"lr": learning_rate, **arguments}
    if kind.decays:
        options["weight_decay"] = 0.0  # each group has its own
    if kind.make is MuonAndAdamW:
        return MuonAndAdamW(groups, matrices, **options)
    return kind.make(list(groups), **options)


def make_optimizer(
    config: TrainingConfig,
    groups: Sequence[dict[str, Any]],
    matrices: Collection[str],
    learning_rate: float,
) -> Optimizer:
    """The optimizer of a run.

    Args:
        config: settings of the run.
        groups: named parameters, with the rate and the weight decay of each group.
        matrices: names of those that a matrix optimizer gets.
        learning_rate: the peak.

    Returns:
        one that gives a checkpoint's state to the parameters of its names, however they were
        grouped then; of groups it takes over what is no setting.

    Raises:
        ConfigError: as `find_optimizer`.
    """
    arguments = dict(config.optimizer_args)
    kind = find_optimizer(config)
    if kind.make is AdamW:
        # a fused optimizer unscales fp16 gradients itself, after they should have been clipped
        arguments["fused"] = config.precision != "16-mixed"
    optimizer = _build(kind, groups, matrices, learning_rate, arguments)
    optimizer.register_load_state_dict_pre_hook(_by_name)
    return optimizer


def _by_name(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """A saved state as this optimizer, with its groups and settings, would have saved it."""
    if NAMES not in saved["param_groups"][0]:  # by a version that had two groups
        return _with_names(optimizer, saved)
    index_of: dict[str, int] = {}
    group_of: dict[str, dict[str, Any]] = {}
    for group in saved["param_groups"]:
        index_of |= zip(group[NAMES], group["params"], strict=True)
        group_of |= dict.fromkeys(group[NAMES], group)
    state = {key: value for key, value in saved["state"].items() if not isinstance(key, int)}
    groups: list[dict[str, Any]] = []
    count = 0
    for group in optimizer.param_groups:
        # what an optimizer notes of a group meanwhile, such as a count of steps, is no setting
        noted = {k: v for k, v in group_of.get(group[NAMES][0], {}).items() if k not in group}
        indices = range(count, count := count + len(group["params"]))
        groups.append({**noted, **group, "params": list(indices)})
        state |= {
            index: saved["state"][index_of[name]]
            for index, name in zip(indices, group[NAMES], strict=True)
            if index_of.get(name) in saved["state"]
        }
    return {**saved, "state": state, "param_groups": groups}


def _with_names(optimizer: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    groups = optimizer.param_groups
    sizes = [[len(group["params"]) for group in some] for some in (groups, saved["param_groups"])]
    if sizes[0] != sizes[1]:
        raise TrainingError(
            "this run was begun by a version of the project that knew no rates for parts of a "
            "network; leave backbone_lr_scale and layer_decay out to go on with it"
        )
    named = [
        {**group, NAMES: own[NAMES]}
        for group, own in zip(saved["param_groups"], groups, strict=True)
    ]
    return _by_name(optimizer, {**saved, "param_groups": named})
