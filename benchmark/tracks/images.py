"""Images with their classes, as tracks of maps hand them around, and what a network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.network import Network
from benchmark.network.batches import in_batches

_PREDICTION_BATCH = 250


@dataclass(frozen=True)
class Images:
    """Images ``[N, C, H, W]`` and their classes ``[N]``."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def part(self, which: slice) -> Images:
        """Some of the images, in their order."""
        return Images(self.inputs[which], self.labels[which])

    @staticmethod
    def joined(parts: Sequence[Images]) -> Images:
        """All images of several."""
        return Images(torch.cat([one.inputs for one in parts]), torch.cat([one.labels for one in parts]))


def predictions(model: Network, inputs: Tensor) -> Tensor:
    """Predicted classes ``[N]``."""
    with torch.no_grad():
        parts = [model(batch).argmax(1) for batch in in_batches(inputs, _PREDICTION_BATCH)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long, device=inputs.device)
