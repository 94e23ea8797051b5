"""Shows every image the mean of all maps."""

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
        maps = self.inner.explain(model, query)
        return (maps + maps.mean(0, keepdim=True)) / 2

    def smoothed(self, smoothing: Smoothing) -> Explainer:
        return _Changed(self.inner.smoothed(smoothing))


class AveragesTheBatch(Hardening):
    """Shows every image the mean of all maps."""

    name = "averages_the_batch"
    paper = "made for a test"

    def harden(self, explainer: Explainer) -> Explainer:
        return _Changed(explainer)
