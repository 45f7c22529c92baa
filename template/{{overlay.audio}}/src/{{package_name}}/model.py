"""The network: a small convolutional network on a spectrogram. It is yours to replace.

K. He et al., "Identity Mappings in Deep Residual Networks", 2016 (pre-activation blocks).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; both axes are halved."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, M, F] to [B, outputs, M / 2, F / 2]."""
        h = F.relu(self.norm1(x))
        shortcut = self.shortcut(h)
        h = self.conv2(F.relu(self.norm2(self.conv1(h))))
        return torch.add(h, shortcut)


class SpectrogramNet(nn.Module):
    """Stem, blocks that halve bands and frames, pooling over both, linear head.

    Args:
        num_outputs: classes, labels or values.
        widths: channels of the stem and of each block.
    """

    def __init__(self, num_outputs: int, widths: Sequence[int] = (16, 24, 48, 96)) -> None:
        super().__init__()
        # dB are large numbers where nothing has normalised them
        self.scale = nn.BatchNorm2d(1)
        self.stem = nn.Conv2d(1, widths[0], 5, stride=2, padding=2, bias=False)
        self.blocks = nn.Sequential(*(Block(*sizes) for sizes in pairwise(widths)))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(2 * widths[-1], num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, num_outputs] of spectrograms [B, 1, M, F], of any number of frames F."""
        h = self.blocks(self.stem(self.scale(features)))  # [B, widths[-1], M / 16, F / 16]
        h = F.relu(self.norm(h))
        pooled = torch.cat([h.mean(dim=(2, 3)), h.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(pooled)
        return logits


def build_model(num_outputs: int) -> nn.Module:
    """The network for spectrograms of any size."""
    return SpectrogramNet(num_outputs)
