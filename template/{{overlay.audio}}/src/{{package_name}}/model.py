"""The network: a small convolutional network on a log-mel spectrogram. It is yours to replace."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Convolutions that halve the picture, pooling, linear head."""

    def __init__(self, num_outputs: int, widths: Sequence[int] = (16, 32, 64, 64)) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            for inputs, outputs in zip((1, *widths), widths, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.head = nn.Linear(widths[-1], num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, num_outputs] of spectrograms [B, 1, M, F]."""
        h = features
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            h = F.max_pool2d(F.relu(norm(convolution(h))), 2)
        logits: Tensor = self.head(h.mean(dim=(2, 3)))
        return logits


def build_model(num_outputs: int, input_shape: Sequence[int]) -> nn.Module:
    """The network for spectrograms of [channels, bands, frames]."""
    return ConvNet(num_outputs)
