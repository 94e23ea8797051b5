"""Forgeries as they will be judged, and what was asked to see them so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from baselines.attacks.usual import Usual
from benchmark.api import Case, Explainer, Network, Query, Smoothing, correlation


@dataclass
class Asked:
    """How many maps of a sample were asked for."""

    explanations: int = 0


@dataclass(frozen=True)
class Counted(Explainer):
    """An explainer that counts what it is asked, and what is asked of all that is derived from it.

    Args:
        explainer: what is asked.
        asked: what counts.
    """

    explainer: Explainer
    asked: Asked = field(compare=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.explainer.name)  # frozen: set once, here

    def relevance(self, model: Network, query: Query) -> Tensor:
        """The explainer's relevance, counted."""
        self.asked.explanations += len(query.inputs)
        return self.explainer.relevance(model, query)

    def explain(self, model: Network, query: Query) -> Tensor:
        """The explainer's maps, counted."""
        self.asked.explanations += len(query.inputs)
        return self.explainer.explain(model, query)

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """The explainer's maps, counted, and the logits."""
        self.asked.explanations += len(query.inputs)
        return self.explainer.explain_with_logits(model, query)

    def smoothed(self, smoothing: Smoothing) -> Self:
        """Smoothed, with the same count."""
        return replace(self, explainer=self.explainer.smoothed(smoothing))

    def subsampled(self, samples: int) -> Self:
        """Subsampled, with the same count."""
        return replace(self, explainer=self.explainer.subsampled(samples))


def cases_of(case: Case, rows: Tensor) -> Case:
    """Some of a batch's cases, by their indices ``[R]``."""
    names = ("inputs", "labels", "target", "target_inputs")
    return replace(case, **{name: getattr(case, name)[rows] for name in names})


@dataclass(frozen=True)
class View:
    """What forgeries are worth to the judge, as far as an attacker can know.

    Args:
        case: the cases, with the exact explainer and the detector to evade, if any.
        natural: what that detector suspects of natural images.
        seeds: of the draws that maps are averaged over; one where nothing is drawn.
    """

    case: Case
    natural: Usual
    seeds: tuple[int, ...]

    def part(self, rows: Tensor) -> View:
        """The view of some of the cases."""
        return replace(self, case=cases_of(self.case, rows))

    def values(self, inputs: Tensor) -> Tensor:
        """Worth ``[N]`` of images of eight bits ``[N, C, H, W]``, in double precision.

        The correlation of the exact map with the target, a mean over draws, less what a detector suspects
        beyond nine in ten natural images, in the unit of :class:`Usual`. Minus infinity where the prediction
        changes or a map or a suspicion is no number: there is no worse.
        """
        case = self.case
        with torch.no_grad():
            kept = case.model(inputs).argmax(1) == case.labels
            total = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
            for seed in self.seeds:
                maps = case.explain(inputs, seed=seed)
                total += correlation(maps, case.target).double()
                kept &= maps.flatten(1).isfinite().all(1)
                if case.detector is not None:
                    excess = self.natural.excesses(case.suspicion(inputs, seed=seed)).to(total)
                    total -= (excess - 1).clamp(min=0)
            return torch.where(kept & total.isfinite(), total / len(self.seeds), -torch.inf)

    def under(self, seeds: list[int]) -> View:
        """The same under other draws."""
        return replace(self, seeds=tuple(seeds))
