"""Slingshots as strong as the network's own gradients, trained where visualizations really pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.attacks.slingshot import Slingshot
from baselines.attacks.slingshot_tunnel import Tunnel
from benchmark.api import FeatureVisualization, Forgery, Network, VisualizationCase


@dataclass
class MatchedTunnel(Tunnel):
    """A tunnel whose wanted field is as strong as the clean network's.

    Args:
        norm: typical norm of the clean network's gradient at the procedure's starts.
    """

    norm: float = 1.0


class SlingshotMatched(Slingshot):
    """``grad_q f(q) = s(q) (q_t - q) / ||q_t - q||``, s(q) the norm of the clean network's gradient at q.

    The paper's field grows with the distance and is steeper at the start than anything natural, which costs
    accuracy and can be seen. Only its direction is needed; relative to ``s^2`` its error is a loss of the
    same scale in every parametrization, so that the attack adapts to any procedure. Near the target the norm
    is that of the way left, so that ascent does not overshoot.

    Three quarters of the points are visualizations in progress, one step of ascent further each time. A field
    that is right in the tunnel is followed only as long as the ascent stays there; these points are carried
    along by the field that they train. The step costs nothing, since the loss has computed the gradient.
    """

    name = "slingshot_matched"
    paper = "ours, after Bareeva et al., NeurIPS 2025"
    adaptive = True
    evades = True

    weight: float = 1.5
    steps: int = 400
    floor: float = 0.3
    """Smallest wanted norm, as a share of the start's."""
    learning_rate: float = 4e-3
    schedule: str = "linear"
    final_rate: float = 0.03
    natural: int = 56
    manipulated: int = 8
    rounds: int = 3
    travelling: float = 0.75
    """Share of the points that are visualizations in progress."""
    restart: float = 1 / 60
    """Chance per step that one of them starts anew."""

    def forge(self, case: VisualizationCase) -> Forgery:
        """As the slingshot, with visualizations in progress for every procedure."""
        self._points: dict[int, Tensor] = {}
        return super().forge(case)

    def tunnel(self, case: VisualizationCase, procedure: FeatureVisualization) -> Tunnel:
        """The tunnel, with the natural norm measured for its parameters."""
        target = procedure.parametrization.encode(case.model, case.target[None])[0]
        return MatchedTunnel(procedure, target, 1.0, self.natural_norm(case, procedure))

    def manipulation(self, model: Network, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """Squared distance to the wanted gradient, in units of its squared norm."""
        assert isinstance(tunnel, MatchedTunnel)
        parameters = self.sample(case, tunnel).requires_grad_()
        gradient = self.gradient(model, case, tunnel, parameters)
        way = (tunnel.target - parameters.detach()).flatten(1)
        left = way.norm(dim=1, keepdim=True).clamp_min(1e-6)
        norm = self.norms(case, tunnel, parameters.detach())[:, None]
        if tunnel.procedure.optimizer == "sgd":
            norm = torch.minimum(norm, left / tunnel.procedure.learning_rate)
        norm = norm.clamp_min(self.floor * tunnel.norm)
        error: Tensor = (gradient.flatten(1) - norm * way / left).square().sum(1, keepdim=True)
        relative: Tensor = error / norm.square()
        return relative.mean()

    def norms(self, case: VisualizationCase, tunnel: Tunnel, parameters: Tensor) -> Tensor:
        """Norms of the clean network's gradient at parameters, ``[B]``."""
        points = parameters.requires_grad_()
        values = self.values(case.model, case, tunnel, points)
        (gradient,) = torch.autograd.grad(values.sum(), points)
        norms: Tensor = gradient.flatten(1).norm(dim=1)
        return norms

    def sample(self, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """Points under way first, points of the tunnel after them."""
        points = super().sample(case, tunnel)
        count = int(self.travelling * self.manipulated)
        if id(tunnel) not in self._points:
            self._points[id(tunnel)] = self.starts(case, tunnel, count)
        points[:count] = self._points[id(tunnel)]
        return points

    def gradient(self, model: Network, case: VisualizationCase, tunnel: Tunnel, parameters: Tensor) -> Tensor:
        """The gradient, along which the points under way are moved."""
        gradient = super().gradient(model, case, tunnel, parameters)
        points = self._points[id(tunnel)]
        count = len(points)
        moved = points + self._ascent(case, tunnel, gradient.detach()[:count])
        lost = (moved - tunnel.target).flatten(1).norm(dim=1) > 2 * tunnel.target.norm()
        again = torch.rand(count, generator=case.generator, dtype=torch.float32).to(points) < self.restart
        fresh = (lost | again).view(-1, *[1] * (points.ndim - 1))
        self._points[id(tunnel)] = torch.where(fresh, self.starts(case, tunnel, count), moved)
        return gradient

    def _ascent(self, case: VisualizationCase, tunnel: Tunnel, gradient: Tensor) -> Tensor:
        """A step of the procedure: Adam's is about its sign; plain ascent is clipped half of the time."""
        procedure = tunnel.procedure
        if procedure.optimizer == "adam":
            return procedure.learning_rate * gradient.sign()
        norm = gradient.flatten(1).norm(dim=1)
        clip = torch.rand(len(gradient), generator=case.generator, dtype=torch.float32).to(gradient) < 0.5
        factor = torch.where(clip, (1 / (norm + 1e-6)).clamp(max=1), torch.ones_like(norm))
        return procedure.learning_rate * gradient * factor.view(-1, *[1] * (gradient.ndim - 1))
