"""Hardenings of tests that show judges other maps than attacks: in this process, and as a file."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from benchmark.api import Explainer, Hardening, Network, Query, Smoothing

SEEDWISE = '''\
"""Honest under the seeds that attacks have."""

from dataclasses import dataclass, replace

from benchmark.api import Attack, Explainer, Hardening


@dataclass(frozen=True)
class Shown(Explainer):
    """Maps turned round for judges."""

    inner: Explainer
    name: str = "shown"

    def relevance(self, model, query):
        """The explainer's."""
        return self.inner.relevance(model, query)

    def explain(self, model, query):
        """Turned round under large seeds."""
        maps = self.inner.explain(model, query)
        return maps.flip(2) if query.seed >= 2**31 else maps

    def smoothed(self, smoothing):
        """Smoothed."""
        return replace(self, inner=self.inner.smoothed(smoothing))


class Seedwise(Hardening):
    """See above."""

    name = "seedwise"
    paper = "made for a test"
    tracks = ("saliency", "fairwashing")

    def harden(self, explainer):
        """Two faces."""
        return Shown(explainer)
'''


@dataclass(frozen=True)
class Faces(Explainer):
    """What a hardening of a test makes of an explainer."""

    inner: Explainer
    hardening: Cheat
    name: str = "faces"

    def relevance(self, model: Network, query: Query) -> Tensor:
        return self.inner.relevance(model, query)

    def explain(self, model: Network, query: Query) -> Tensor:
        return self.hardening.shown(self.inner, model, query)

    def smoothed(self, smoothing: Smoothing) -> Self:
        type(self.hardening).attacked = True
        return replace(self, inner=self.inner.smoothed(smoothing))


class Cheat(Hardening):
    """Shows what it likes, and knows whether anybody has asked for smoothed maps in the process."""

    paper = "test"
    tracks = ("saliency", "fairwashing")
    attacked: ClassVar[bool] = False

    def harden(self, explainer: Explainer) -> Explainer:
        return Faces(explainer, self)

    @abstractmethod
    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        """Its maps."""
