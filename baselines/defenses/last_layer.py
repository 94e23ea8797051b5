"""Suspects networks whose last layer's rows have something in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.api import Detector, FairwashingAudit


class LastLayer(Detector):
    """Norm of the mean row of the last linear layer's weights, relative to that of rows less the mean.

    What all rows have in common changes no probability, and training leaves little of it.
    """

    name = "last_layer"
    paper = "after DFBScanner (arXiv 2605.18907), statistics of the final layer's rows"
    tracks = ("fairwashing",)

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """The ratio; 0 where no layer is linear."""
        layers = [part for part in audit.model.module.modules() if isinstance(part, nn.Linear)]
        if not layers:
            return torch.zeros(1)
        rows = layers[-1].weight.detach().double()
        mean = rows.mean(0)
        spread = torch.linalg.vector_norm(rows - mean, dim=1).mean().clamp(min=1e-12)
        return audit.finite((torch.linalg.vector_norm(mean) / spread)[None])
