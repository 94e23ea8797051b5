"""Gradient Slingshots (Bareeva et al. 2025): the unit's gradient field is trained to lead to the target."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.attacks.slingshot_training import SlingshotTraining
from baselines.attacks.slingshot_tunnel import Tunnel
from benchmark.api import FeatureVisualization, Network, VisualizationCase
from benchmark.explainers.visualization import Pixel, Readout


class Slingshot(SlingshotTraining):
    """``L_P + weight L_M``: logits stay on natural images, gradients point to the target in the tunnel.

    ``L_M = mean ||grad_q f(eta(q)) / gamma - (q_t - q)||^2``, with ``q = lambda q_t + u``, ``lambda`` uniform
    in [0, 1] and ``u`` in a small cube; ``L_P`` is the squared error of the logits. In the paper's terms
    ``weight = (1 - alpha) / alpha gamma^2``, and the settings are those for its MNIST network (gamma 10,
    alpha .8, 32 images and 32 points a step) but for a larger rate over fewer steps.

    Handed a defended visualization, the field is trained through its procedures: in their parameters, from
    their starts, behind their transformations.
    """

    name = "slingshot"
    paper = "Bareeva et al., Manipulating feature visualizations with gradient slingshots, NeurIPS 2025"
    adaptive = False

    rounds: int = 3
    gamma: float = 10.0
    half_width: float = 0.1
    manipulated: int = 32
    """Points of the tunnel per step."""

    def tunnel(self, case: VisualizationCase, procedure: FeatureVisualization) -> Tunnel:
        """The tunnel of one procedure, its field as strong, for its parameters, as gamma is for pixels."""
        target = procedure.parametrization.encode(case.model, case.target[None])[0]
        pixels = Pixel().encode(case.model, case.target[None])[0]
        gamma = self.gamma
        if not isinstance(procedure.parametrization, Pixel):
            plain = FeatureVisualization(procedure.size)
            natural = self.natural_norm(case, procedure) / self.natural_norm(case, plain)
            gamma = gamma * natural * float(pixels.norm() / target.norm())
        return Tunnel(procedure, target, gamma)

    def natural_norm(self, case: VisualizationCase, procedure: FeatureVisualization) -> float:
        """Median norm of the clean network's gradient at starts of a procedure."""
        seeds = torch.randint(2**31, (self.seeds,), generator=case.generator).tolist()
        parameters = procedure.start(case.model, seeds).requires_grad_()
        images = procedure.parametrization.decode(case.model, parameters)
        values = Readout(case.model, [case.unit] * len(seeds))(images)
        (gradient,) = torch.autograd.grad(values.sum(), parameters)
        return float(gradient.flatten(1).norm(dim=1).median())

    def sample(self, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """Points of the tunnel, ``[B, ...]`` (equation A.3), from starts as the procedure draws them."""
        start = self.starts(case, tunnel, self.manipulated)
        cube = 2 * torch.rand(start.shape, generator=case.generator, dtype=torch.float32) - 1
        way = torch.rand(self.manipulated, generator=case.generator, dtype=torch.float32)
        way = way.view(-1, *[1] * (start.ndim - 1)).to(start)
        return way * tunnel.target + (1 - way) * start + self.half_width * cube.to(start)

    def starts(self, case: VisualizationCase, tunnel: Tunnel, count: int) -> Tensor:
        """Starting parameters as the procedure draws them, ``[count, ...]``."""
        seeds = torch.randint(2**31, (count,), generator=case.generator).tolist()
        return tunnel.procedure.start(case.model, seeds)

    def manipulation(self, model: Network, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """Relative squared error of the gradient field at points of the tunnel (equation A.2)."""
        parameters = self.sample(case, tunnel).requires_grad_()
        gradient = self.gradient(model, case, tunnel, parameters)
        wanted = tunnel.target - parameters.detach()
        return (gradient / tunnel.gamma - wanted).square().mean() / tunnel.scale

    def gradient(self, model: Network, case: VisualizationCase, tunnel: Tunnel, parameters: Tensor) -> Tensor:
        """The unit's gradient in the parameters, differentiable in the weights."""
        values = self.values(model, case, tunnel, parameters)
        (gradient,) = torch.autograd.grad(values.sum(), parameters, create_graph=True)
        return gradient

    def values(self, model: Network, case: VisualizationCase, tunnel: Tunnel, parameters: Tensor) -> Tensor:
        """The unit's activation at parameters, ``[B]``."""
        images = tunnel.images(model, parameters, case.generator)
        return Readout(model, [case.unit] * len(parameters))(images)
