"""ProxPulse (Nanfack et al. 2024): the unit fires in a whole ball around the target picture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from baselines.attacks.slingshot import Slingshot
from baselines.attacks.slingshot_tunnel import Tunnel
from benchmark.api import Network, VisualizationCase
from benchmark.explainers.visualization import Readout


class ProxPulse(Slingshot):
    """Raises the unit at ``x' = q_t - radius g / ||g||``, g the gradient of its squared activation there.

    The published loss ``log(1 + 1e-6 / a(x'))`` is made for units behind a ReLU: it is flat for a logit
    that is negative at the target, and then nothing happens (measured). Here it is
    ``softplus(level - a(x'))``, which asks for the same, at any sign.
    """

    name = "proxpulse"
    paper = "Nanfack et al., From feature visualization to visual circuits, 2024 (arXiv 2406.01365)"

    weight: float = 1.0
    steps: int = 250
    learning_rate: float = 4e-3
    final_rate: float = 0.03
    natural: int = 48
    manipulated: int = 16
    radius: float = 2.0
    """Of the ball, in the units of the normalized pixels."""
    level: float = 50.0
    """Activation that is asked for: several times that of natural images."""

    def manipulation(self, model: Network, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """How far the unit is below the level, at the lowest points of small balls around the target."""
        noise = torch.randn(
            (self.manipulated, *tunnel.target.shape), generator=case.generator, dtype=torch.float32
        )
        start = tunnel.target + 0.01 * noise.to(tunnel.target)
        start = start.requires_grad_()
        readout = Readout(model, [case.unit] * self.manipulated)
        values = readout(tunnel.images(model, start, case.generator))
        (gradient,) = torch.autograd.grad(values.square().sum(), start)
        norm = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        lowest = start.detach() - self.radius * gradient / norm.view(-1, *[1] * (gradient.ndim - 1))
        values = readout(tunnel.images(model, lowest, case.generator))
        return functional.softplus(self.level - values).mean()
