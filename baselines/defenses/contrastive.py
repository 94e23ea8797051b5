"""Explains what sets a class apart from the others, which no shift of all logits changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from benchmark.api import Explainer, Hardening, Network, Query, Smoothing
from benchmark.explainers import Aggregate, NoiseAverage, UnsupportedLayer
from benchmark.explainers.saliency import Backpropagation

BASELINES = ("mean", "logsumexp")


@dataclass(frozen=True)
class ContrastiveQuery(Query):
    """A query about ``y_c - b(y)`` in the place of the logit ``y_c``.

    Args:
        baseline: ``mean`` of the other logits, or their ``logsumexp``.
    """

    baseline: str = "mean"

    def starting_signal(self, logits: Tensor) -> Tensor:
        """The derivative of the difference by the logits, ``[N, classes]``: its rows sum to 0."""
        own = super().starting_signal(logits)
        if self.baseline == "mean":
            return own - (1 - own) / max(1, logits.shape[1] - 1)
        others = logits.masked_fill(own > 0, -torch.inf)
        return own - others.softmax(1)


@dataclass(frozen=True)
class ContrastiveExplainer(Explainer):
    """An explainer that goes back from the logits, asked about a difference.

    Args:
        inner: the explainer.
        baseline: as of :class:`ContrastiveQuery`.
    """

    inner: Explainer
    baseline: str
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", "contrastive")  # frozen: set once, here

    def relevance(self, model: Network, query: Query) -> Tensor:
        """Relevance ``[N, C, H, W]`` for the difference."""
        return self.inner.relevance(model, self._about(query))

    def explain(self, model: Network, query: Query) -> Tensor:
        """Maps ``[N, H, W]`` of the difference."""
        return self.inner.explain(model, self._about(query))

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """Maps of the difference, and logits."""
        return self.inner.explain_with_logits(model, self._about(query))

    def smoothed(self, smoothing: Smoothing) -> Self:
        """With a smoothed explainer."""
        return type(self)(self.inner.smoothed(smoothing), self.baseline)

    def subsampled(self, samples: int) -> Self:
        """With fewer draws."""
        return type(self)(self.inner.subsampled(samples), self.baseline)

    def _about(self, query: Query) -> ContrastiveQuery:
        return ContrastiveQuery(query.inputs, query.labels, query.seed, self.baseline)


class Contrastive(Hardening):
    """Explains the class's logit less the mean of the others, or less their log-sum-exp.

    Softmax does not change where all logits are shifted alike, and neither do these differences: what a
    network shows of them it cannot change for free (Srinivas and Fleuret 2021; DiffGradCAM). Of LRP every
    logit starts with its share of the difference, so that relevance adds up to it.
    """

    name = "contrastive"
    paper = "Piland, Sweet and Czajka, DiffGradCAM, 2025 (arXiv 2506.08514)"
    tracks = ("fairwashing",)
    params = {"baseline": list(BASELINES)}

    baseline: str = "mean"

    def harden(self, explainer: Explainer) -> Explainer:
        """The same explainer, asked about the difference.

        Raises:
            UnsupportedLayer: an explainer that does not start from the logits.
        """
        if not _starts_from_logits(explainer):
            raise UnsupportedLayer(
                f"{explainer.name} does not go back from the logits: no difference can be asked about"
            )
        return ContrastiveExplainer(explainer, self.baseline)


def _starts_from_logits(explainer: Explainer) -> bool:
    """Whether all that an explainer computes goes back from a signal at the logits."""
    if isinstance(explainer, NoiseAverage):
        return _starts_from_logits(explainer.base)
    if isinstance(explainer, Aggregate):
        return all(_starts_from_logits(member) for member in explainer.members)
    return isinstance(explainer, Backpropagation)
