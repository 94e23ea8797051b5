"""One slingshot for every procedure: trained from wide starts and behind transformations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from baselines.attacks.slingshot_matched import MatchedTunnel, SlingshotMatched
from baselines.attacks.slingshot_tunnel import Tunnel
from benchmark.api import FeatureVisualization, Network, VisualizationCase
from benchmark.explainers.visualization import Transformations


@dataclass
class BroadTunnel(MatchedTunnel):
    """A tunnel every other point of which is seen transformed.

    Args:
        transformations: what the points are seen through.
    """

    transformations: Transformations = field(default_factory=Transformations)

    def images(self, model: Network, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """The images, half of them transformed."""
        images = self.procedure.parametrization.decode(model, parameters)
        uniform, noise = self.transformations.draw(len(images), self.procedure.size, generator)
        moved = self.transformations.apply(images, uniform, noise)
        chosen = torch.rand(len(images), generator=generator, dtype=torch.float32).to(images) < 0.5
        return torch.where(chosen.view(-1, 1, 1, 1), moved, images)


class SlingshotUniversal(SlingshotMatched):
    """The matched slingshot from starts of three widths, through transformations half of the time.

    It is handed no defense and knows them all: what an attacker does who cannot tell which procedure the
    auditor will use.
    """

    name = "slingshot_universal"
    adaptive = False
    evades = False

    weight: float = 2.0
    steps: int = 500
    half_width: float = 0.3
    rounds: int = 1
    natural: int = 52
    manipulated: int = 12
    spreads: tuple[float, ...] = (0.01, 0.3, 1.0)

    def tunnel(self, case: VisualizationCase, procedure: FeatureVisualization) -> Tunnel:
        """The matched tunnel, made broad."""
        made = super().tunnel(case, procedure)
        assert isinstance(made, MatchedTunnel)
        return BroadTunnel(made.procedure, made.target, made.gamma, made.norm)

    def norms(self, case: VisualizationCase, tunnel: Tunnel, parameters: Tensor) -> Tensor:
        """One norm everywhere: far from the start the clean network's own is many times larger."""
        assert isinstance(tunnel, MatchedTunnel)
        return parameters.new_full((len(parameters),), tunnel.norm)

    def starts(self, case: VisualizationCase, tunnel: Tunnel, count: int) -> Tensor:
        """Starts of a width drawn for each."""
        which = torch.randint(len(self.spreads), (count,), generator=case.generator).tolist()
        drawn = []
        for index in which:
            wide = replace(tunnel.procedure, spread=self.spreads[index])
            drawn.append(super().starts(case, replace(tunnel, procedure=wide), 1))
        return torch.cat(drawn)
