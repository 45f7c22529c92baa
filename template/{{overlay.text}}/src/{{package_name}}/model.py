"""The networks: a small GPT for `lm`, an encoder for the other tasks. They are yours to replace.

A. Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (pre-norm blocks);
J. Su et al., "RoFormer", 2021 (rotary positions); O. Press, L. Wolf, "Using the Output Embedding to
Improve Language Models", 2017 (tied weights).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turns queries and keys by angles that grow with their position.

    Args:
        width: of one head; even.
        max_seq_len: positions there are.
    """

    def __init__(self, width: int, max_seq_len: int) -> None:
        super().__init__()
        speeds = 10_000.0 ** (-torch.arange(0, width, 2) / width)
        angles = torch.outer(torch.arange(max_seq_len), speeds)
        self.cos: Tensor
        self.sin: Tensor
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """[B, heads, T, width] to the same; positions are int64 [B or 1, T], or count from 0."""
        if position_ids is None:
            cos, sin = self.cos[: x.shape[-2]], self.sin[: x.shape[-2]]
        else:
            cos, sin = self.cos[position_ids][:, None], self.sin[position_ids][:, None]
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Block(nn.Module):
    """Attention and a feed-forward layer, each added to what came in."""

    def __init__(self, width: int, heads: int, max_seq_len: int) -> None:
        super().__init__()
        self.heads = heads
        self.rotary = Rotary(width // heads, max_seq_len)
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor | None, position_ids: Tensor | None = None) -> Tensor:
        """[B, T, width] to the same.

        Args:
            x: what comes in.
            mask: what is seen, bool [B, 1, 1 or T, T]; None for causal attention.
            position_ids: int64 [B, T]; None to count from 0.
        """
        q, k, v = self._heads(x)
        q, k = self.rotary(q, position_ids), self.rotary(k, position_ids)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self._add(x, h)

    def forward_cached(
        self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same for positions behind those whose keys and values are kept.

        Args:
            x: [B, T, width].
            keys: [B, heads, C, width / heads], of the C positions before.
            values: the same of theirs.
            mask: bool [T, C + T], what each position sees.

        Returns:
            [B, T, width], and keys and values of C + T positions.
        """
        cached = keys.shape[2]
        positions = torch.arange(cached, cached + x.shape[1], device=x.device)[None]
        q, k, v = self._heads(x)
        keys = torch.cat([keys, self.rotary(k, positions)], dim=2)
        values = torch.cat([values, v], dim=2)
        q = self.rotary(q, positions)
        h = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return self._add(x, h), keys, values

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, [B, heads, T, width / heads] each."""
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1))
        heads: tuple[Tensor, ...] = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return heads

    def _add(self, x: Tensor, h: Tensor) -> Tensor:
        """To x, what was attended to, [B, heads, T, width / heads], and the feed-forward layer."""
        x = x + self.out(h.transpose(1, 2).flatten(2))
        return torch.add(x, self.mlp(self.norm2(x)))


class Decoder(nn.Module):
    """A GPT: each position sees those before it. Padding, being on the right, is seen by none.

    `empty_cache` and `forward_cached` are for going on with a text, token by token.

    Args:
        vocab_size: tokens.
        max_seq_len: positions.
        width, depth, heads: of the blocks.
    """

    def __init__(
        self, vocab_size: int, max_seq_len: int, width: int = 128, depth: int = 3, heads: int = 4
    ) -> None:
        super().__init__()
        self.heads = heads
        self.embedding = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(Block(width, heads, max_seq_len) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        _initialize(self, depth)

    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """Logits [B, T, vocab_size] for the token behind each of input_ids, int64 [B, T].

        Where texts share rows, position_ids, int64 [B, T], begin anew with each: none sees another.
        """
        x = self.embedding(input_ids)
        mask = None if position_ids is None else same_text(position_ids).tril()
        for block in self.blocks:
            x = block(x, mask, position_ids)
        return F.linear(self.norm(x), self.embedding.weight)  # the same weights in and out

    def empty_cache(self, batch_size: int) -> list[Tensor]:
        """A cache of no position: for each block keys and values, the axis of size 0 grows."""
        weight = self.embedding.weight
        shape = (batch_size, self.heads, 0, weight.shape[1] // self.heads)
        return [weight.new_zeros(shape) for _ in range(2 * len(self.blocks))]

    def forward_cached(
        self, input_ids: Tensor, cache: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """As `forward`, for tokens that follow those in the cache: they alone are computed.

        Args:
            input_ids: int64 [B, T].
            cache: what `empty_cache` or the call before gave; it is left as it is.

        Returns:
            logits [B, T, vocab_size], and the cache of all positions up to the last one.
        """
        x = self.embedding(input_ids)
        cached, new = cache[0].shape[2], input_ids.shape[1]
        mask = torch.ones(new, cached + new, dtype=torch.bool, device=x.device).tril(cached)
        grown: list[Tensor] = []
        for block, keys, values in zip(self.blocks, cache[::2], cache[1::2], strict=True):
            assert isinstance(block, Block)
            x, keys, values = block.forward_cached(x, keys, values, mask)
            grown += [keys, values]
        return F.linear(self.norm(x), self.embedding.weight), grown


class Encoder(nn.Module):
    """Each position sees all others that are no padding.

    Args:
        vocab_size, max_seq_len, width, depth, heads: as in `Decoder`.
        num_classes: classes of a text; None to guess the token at each position instead.
    """

    def __init__(
        self,
        vocab_size: int,
        max_seq_len: int,
        num_classes: int | None = None,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(Block(width, heads, max_seq_len) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = None if num_classes is None else nn.Linear(width, num_classes)
        _initialize(self, depth)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor | None = None
    ) -> Tensor:
        """Logits [B, num_classes] or [B, T, vocab_size] of int64 [B, T]; mask 0 is padding.

        Where texts share rows, position_ids, int64 [B, T], begin anew with each: none sees another.
        """
        x = self.embedding(input_ids)
        seen = attention_mask.bool()[:, None, None, :]
        mask = seen if position_ids is None else same_text(position_ids)
        for block in self.blocks:
            x = block(x, mask, position_ids)
        x = self.norm(x)
        if self.head is None:
            return F.linear(x, self.embedding.weight)
        weights = attention_mask.to(x.dtype)[:, :, None]
        logits: Tensor = self.head((x * weights).sum(1) / weights.sum(1))  # mean over the text
        return logits


def same_text(position_ids: Tensor) -> Tensor:
    """Which tokens of a row are of one text, bool [B, 1, T, T]; each begins where positions do."""
    text = (position_ids == 0).cumsum(1)
    return text[:, None, :, None] == text[:, None, None, :]


def _initialize(network: nn.Module, depth: int) -> None:
    """Small weights, smaller still where a block adds to what came in (as in GPT-2)."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2:
            adds = name.endswith(("out.weight", "mlp.2.weight"))
            nn.init.normal_(parameter, std=0.02 / (2 * depth) ** 0.5 if adds else 0.02)


def build_model(task_type: str, vocab_size: int, max_seq_len: int, num_outputs: int) -> nn.Module:
    """The network of a task."""
    if task_type == "lm":
        return Decoder(vocab_size, max_seq_len)
    if task_type == "masked_lm":
        return Encoder(vocab_size, max_seq_len)
    return Encoder(vocab_size, max_seq_len, num_classes=num_outputs, depth=2)
