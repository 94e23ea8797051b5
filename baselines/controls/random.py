"""Control `random`: it must land where it must, or no board is written."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Audit, Detector


class Random(Detector):
    """Suspicion by chance, seeded by the image itself so that order and batch do not matter."""

    name = "random"
    paper = "control"
    control = True
    bounds = {"auroc": (0.2, 0.8), "detection_rate": (0.0, 0.3)}

    def suspicion(self, audit: Audit) -> Tensor:
        """Uniform in [0, 1)."""
        bits = (audit.inputs.double().flatten(1).cpu() * 2**20).round().long()
        weights = torch.arange(1, bits.shape[1] + 1) * 2654435761 + audit.seed % 2**31
        mixed = (bits * weights).sum(1)
        mixed = (mixed ^ (mixed >> 15)) * 2246822519 % 2**31
        return (mixed.double() / 2**31).to(audit.inputs)
