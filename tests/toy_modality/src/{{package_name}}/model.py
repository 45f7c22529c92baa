"""The network: two layers."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """Points [B, F] to logits [B, K]."""

    def __init__(self, dimensions: int, num_outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dimensions, 32), nn.ReLU(), nn.Linear(32, num_outputs)
        )

    def forward(self, points: Tensor) -> Tensor:
        """Logits [B, K]."""
        logits: Tensor = self.layers(points)
        return logits


def build_model(num_outputs: int, dimensions: int) -> nn.Module:
    """The network for points of so many numbers."""
    return Network(dimensions, num_outputs)
