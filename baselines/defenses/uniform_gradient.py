"""Averages the explanation over uniform noise (Wang et al. 2020)."""

from __future__ import annotations

from benchmark.api import Explainer, Hardening, TaskFacts
from benchmark.explainers import NoiseAverage

AVERAGING = ("integrated_gradients", "smoothgrad")


class UniformGradient(Hardening):
    """Mean relevance over the max-norm ball around the input, which bounds the map's Lipschitz constant."""

    name = "uniform_gradient"
    paper = "Wang et al., Smoothed geometry for robust attribution, NeurIPS 2020"
    tracks = ("saliency", "fairwashing")

    samples: int = 16
    radius: float = 0.2
    """Half-width of the noise, as a share of the input range."""

    def harden(self, explainer: Explainer) -> Explainer:
        """The averaged explainer; its draws come from the judge's seed, which no attack knows."""
        return NoiseAverage(explainer, self.samples, self.radius, uniform=True, name=self.name)

    def skip(self, task: TaskFacts) -> str | None:
        """Not on top of an explainer that averages already."""
        if task.explainer in AVERAGING:
            return f"{task.explainer} averages over inputs already"
        return None
