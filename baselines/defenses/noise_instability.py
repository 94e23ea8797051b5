"""Suspects inputs whose map changes under a little noise."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Audit, Detector, correlation


class NoiseInstability(Detector):
    """One minus the mean correlation between the map and the maps of noisy copies."""

    name = "noise_instability"
    paper = "local sensitivity of explanations, Alvarez-Melis and Jaakkola 2018, as a detector"

    scale: float = 0.05
    draws: int = 8

    def suspicion(self, audit: Audit) -> Tensor:
        """The instability, in [0, 2]; the same noise for every sample."""
        generator = torch.Generator().manual_seed(audit.seed)
        maps = audit.explain()
        total = torch.zeros_like(maps[:, 0, 0])
        for _ in range(self.draws):
            noise = torch.randn(audit.inputs.shape[1:], generator=generator, dtype=torch.float32) * self.scale
            noisy = (audit.inputs + noise.to(audit.inputs)).clamp(0, 1)
            total = total + correlation(maps, audit.explain(noisy))
        return 1 - total / self.draws
