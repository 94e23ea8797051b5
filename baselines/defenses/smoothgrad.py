"""Averages the explanation over Gaussian noise (Smilkov et al. 2017)."""

from __future__ import annotations

from benchmark.api import Explainer, Hardening, TaskFacts
from benchmark.explainers import NoiseAverage

AVERAGING = ("integrated_gradients", "smoothgrad")


class SmoothGrad(Hardening):
    """Mean relevance over noisy copies of the input."""

    name = "smoothgrad"
    paper = "Smilkov et al., SmoothGrad: removing noise by adding noise, 2017"
    tracks = ("saliency", "fairwashing")

    samples: int = 16
    scale: float = 0.1
    """Standard deviation of the noise, as a share of the input range."""

    def harden(self, explainer: Explainer) -> Explainer:
        """The averaged explainer; its draws come from the judge's seed, which no attack knows."""
        return NoiseAverage(explainer, self.samples, self.scale, name=self.name)

    def skip(self, task: TaskFacts) -> str | None:
        """Not on top of an explainer that averages already."""
        if task.explainer in AVERAGING:
            return f"{task.explainer} averages over inputs already"
        return None
