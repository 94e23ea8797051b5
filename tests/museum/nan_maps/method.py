"""Takes the logarithm of zero."""

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
        return (self.inner.explain(model, query) * 0).log()

    def smoothed(self, smoothing: Smoothing) -> Explainer:
        return _Changed(self.inner.smoothed(smoothing))


class NanMaps(Hardening):
    """Takes the logarithm of zero."""

    name = "nan_maps"
    paper = "made for a test"

    def harden(self, explainer: Explainer) -> Explainer:
        return _Changed(explainer)
