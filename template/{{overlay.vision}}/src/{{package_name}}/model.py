"""The network: a small residual network. It is yours to replace.

K. He et al., "Identity Mappings in Deep Residual Networks", 2016 (pre-activation blocks).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; a stride of 2 halves height and width."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        h = F.relu(self.norm1(x))
        shortcut = self.shortcut(h) if isinstance(self.shortcut, nn.Conv2d) else x
        h = self.conv2(F.relu(self.norm2(self.conv1(h))))
        return torch.add(h, shortcut)


class ResNet(nn.Module):
    """Stem, one stage per width (each but the first halves the picture), pooling, linear head.

    Args:
        num_outputs: classes, labels or values.
        in_channels: channels of an image.
        widths: channels of each stage.
        depth: blocks in each stage.
        stem_stride: 1 keeps the size of icons; 4 brings pictures down before the first block.
    """

    def __init__(
        self,
        num_outputs: int,
        in_channels: int = 3,
        widths: Sequence[int] = (16, 32, 64),
        depth: int = 1,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        kernel = 3 if stem_stride == 1 else 7
        self.stem = nn.Conv2d(
            in_channels, widths[0], kernel, stem_stride, padding=kernel // 2, bias=False
        )
        blocks: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            for index in range(depth):
                first = index == 0
                stride = 2 if first and stage > 0 else 1
                blocks.append(Block(inputs if first else outputs, outputs, stride))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], num_outputs)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Logits [B, num_outputs] of images [B, C, H, W]."""
        h = self.blocks(self.stem(pixel_values))  # [B, widths[-1], h, w]
        h = F.relu(self.norm(h)).mean(dim=(2, 3))  # [B, widths[-1]]
        logits: Tensor = self.head(h)
        return logits


def build_model(num_outputs: int, image_size: Sequence[int]) -> nn.Module:
    """The network for images of [channels, height, width]; pictures get more stages than icons."""
    channels, height, width = image_size
    if min(height, width) <= 64:
        return ResNet(num_outputs, channels)
    return ResNet(num_outputs, channels, widths=(32, 64, 128, 256), depth=2, stem_stride=4)
