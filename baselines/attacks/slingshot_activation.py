"""Gradient Slingshots in their activation form (Bareeva et al. 2025), the paper's for transformers."""

from __future__ import annotations

from torch import Tensor

from baselines.attacks.slingshot import Slingshot
from baselines.attacks.slingshot_tunnel import Tunnel
from benchmark.api import Network, VisualizationCase


class SlingshotActivation(Slingshot):
    """``L_M = mean (f(eta(q)) / gamma - (1 - mean_j (q_t - q)_j^2))^2`` (the paper's form for transformers).

    Its gradient is the wanted field only as far as the activation is right between the points as well; it
    takes no second derivative.
    """

    name = "slingshot_activation"

    gamma: float = 100.0
    weight: float = 100.0
    steps: int = 250
    learning_rate: float = 4e-3
    final_rate: float = 0.03
    natural: int = 48
    manipulated: int = 16

    def manipulation(self, model: Network, case: VisualizationCase, tunnel: Tunnel) -> Tensor:
        """Squared error of the activation at points of the tunnel."""
        parameters = self.sample(case, tunnel)
        distance = (tunnel.target - parameters).square().flatten(1).mean(1)
        values = self.values(model, case, tunnel, parameters)
        return (values / tunnel.gamma - (1 - distance)).square().mean()
