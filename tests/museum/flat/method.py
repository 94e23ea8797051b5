"""Rounds its gradient away, and calls that robust."""

from dataclasses import dataclass

from torch import Tensor

from benchmark.api import Explainer, Hardening, Network, Query, Smoothing


@dataclass(frozen=True)
class _Changed(Explainer):
    """An explainer around another."""

    inner: Explainer
    name: str = "changed"

    def relevance(self, model: Network, query: Query) -> Tensor:
        return self.inner.relevance(model, query)

    def explain(self, model: Network, query: Query) -> Tensor:
        rounded = (1000 * self.inner.explain(model, query)).round()
        return rounded / rounded.sum((1, 2), keepdim=True)

    def smoothed(self, smoothing: Smoothing) -> Explainer:
        return _Changed(self.inner.smoothed(smoothing))


class Flat(Hardening):
    """Rounds its gradient away, and calls that robust."""

    name = "flat"
    paper = "made for a test"

    def harden(self, explainer: Explainer) -> Explainer:
        return _Changed(explainer)
