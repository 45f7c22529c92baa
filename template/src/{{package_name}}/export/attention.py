"""Attention of any number of axes, as ONNX exporters take four and no others."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ATTENTION = torch.ops.aten.scaled_dot_product_attention.default


def with_four_axes(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The same program, in which attention has samples, heads, positions and features.

    Networks attend without heads, or within windows as a further axis.
    """
    queries = (node.args[0] for node in program.graph.nodes if node.target is ATTENTION)
    if all(query.meta["val"].ndim == 4 for query in queries):
        return program
    found: torch.export.ExportedProgram = program.run_decompositions({ATTENTION: _attend})
    return found


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`scaled_dot_product_attention`, with all axes between samples and positions as heads."""
    if query.ndim == 4 or enable_gqa:
        return NotImplemented  # type: ignore[no-any-return]  # torch leaves it as it is
    leading = query.shape[:-2]
    samples = leading[0] if leading else 1

    def joined(tensor: Tensor) -> Tensor:
        sizes = tensor.shape[-2:]
        return tensor.expand(*leading, *sizes).reshape(samples, -1, *sizes)

    if attn_mask is not None and attn_mask.ndim > 2:
        attn_mask = joined(attn_mask)
    attended = F.scaled_dot_product_attention(
        joined(query), joined(key), joined(value), attn_mask, dropout_p, is_causal, scale=scale
    )
    return attended.reshape(*query.shape[:-1], value.shape[-1])
