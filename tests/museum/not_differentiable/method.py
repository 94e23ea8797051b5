"""Hides its gradient, and calls that robust."""

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
        return self.inner.explain(model, query).detach()

    def smoothed(self, smoothing: Smoothing) -> Explainer:
        return _Changed(self.inner.smoothed(smoothing))


class NotDifferentiable(Hardening):
    """Hides its gradient, and calls that robust."""

    name = "not_differentiable"
    paper = "made for a test"

    def harden(self, explainer: Explainer) -> Explainer:
        return _Changed(explainer)
