"""Suspects units whose gradient at the start is unlike that of their siblings."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Detector, VisualizationAudit
from benchmark.explainers.visualization import Pixel, Readout


class GradientNorm(Detector):
    """Distance of the logarithm of the mean gradient norm around the start from the siblings' median.

    A slingshot makes a field of a strength of its own there: five times the natural one with the paper's
    settings, half of it with weaker ones. What is natural is told by the layer's other units.
    """

    name = "gradient_norm"
    paper = "proposed beside Bareeva et al. 2025, whose attack trains this gradient"
    tracks = ("visualization",)

    points: int = 16
    half_width: float = 0.1

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """The distance, in natural logarithms."""
        generator = torch.Generator().manual_seed(audit.seed)
        cube = (
            2 * torch.rand((self.points, *audit.explainer.size), generator=generator, dtype=torch.float32) - 1
        )
        parameters = self.half_width * cube.to(audit.data)
        norms = []
        for unit in audit.siblings():
            points = parameters.clone().requires_grad_()
            images = Pixel().decode(audit.model, points)
            values = Readout(audit.model, [unit] * self.points)(images)
            (gradient,) = torch.autograd.grad(values.sum(), points)
            norms.append(audit.finite(gradient).flatten(1).norm(dim=1).mean())
        return audit.among_siblings(torch.stack(norms).clamp_min(1e-12).log())
