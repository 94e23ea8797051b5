"""Suspects units whose visualization activates them unlike their siblings' do."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Detector, VisualizationAudit


class ActivationReached(Detector):
    """Distance of the activation that is reached, as a multiple of the natural maximum, from the siblings'.

    Free ascent drives a natural unit far beyond what any natural image does; a field that ends in a picture
    ends there, and a steep one overshoots. Logarithms, against the median of the layer's units.
    """

    name = "activation_reached"
    paper = "proposed beside Bareeva et al. 2025, whose attack bounds or inflates what is reached"
    tracks = ("visualization",)

    seeds: int = 4
    steps: int = 100

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """The distance, in natural logarithms."""
        siblings = audit.siblings()
        shown = audit.visualize(self.seeds, steps=self.steps, units=siblings)
        reached = audit.finite(shown.activations[:, :, -1]).mean(1)
        natural = audit.finite(audit.natural_activations(siblings[0].layer)).amax(0)
        natural = natural[[unit.index for unit in siblings]]
        ratio = reached.clamp_min(1e-6) / natural.clamp_min(1e-6)
        return audit.among_siblings(ratio.log())
