"""Finds a trigger and trains the network to pay no heed to it (Wang et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from baselines.defenses.finetuning import finetuned, state_of
from baselines.defenses.neural_cleanse import NeuralCleanse
from baselines.defenses.neural_cleanse_search import Reversed
from benchmark.api import (
    BackdoorAudit,
    FairwashingFacts,
    InputAgnosticSaliency,
    Repair,
    RepairCase,
    TaskFacts,
)

_LABELED = ("red_herring", "full_disguise")


class NeuralCleanseUnlearning(Repair):
    """Stamps the trigger that Neural Cleanse finds on a fifth of clean images, and trains on their classes.

    The class is the one whose mask is the smallest; it counts where its anomaly index is above two (section
    4.2 of the paper). A network without such a class stays as it is. The paper trains for one epoch on a
    tenth of its training images, a fifth of them stamped (section 6.2).
    """

    name = "neural_cleanse_unlearning"
    paper = "Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao, Neural Cleanse, IEEE S&P 2019"
    tracks = ("signature", "fairwashing")

    stamped: float = 0.2
    index: float = 2.0
    steps: int = 300
    rate: float = 3e-4

    def skip(self, task: TaskFacts) -> str | None:
        """Goals without a trigger that changes the class."""
        if isinstance(task, FairwashingFacts) and task.goal not in _LABELED:
            return f"goal {task.goal} has no trigger that sends images to a class"
        return None

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """The weights after unlearning, or as they are."""
        found = NeuralCleanse().reverse(audit_of(case))
        norms = found.norm.double().nan_to_num(0.0, 1e38, -1e38)
        median = norms.quantile(0.5)
        spread = (1.4826 * (norms - median).abs().quantile(0.5)).clamp_min(1.0)
        label = int(norms.argmin())
        if float((median - norms[label]) / spread) <= self.index:
            return state_of(case.model)
        stamp = Stamp(case, found, label, self.stamped)
        return state_of(finetuned(case, case.model.trainable_copy(), self.steps, self.rate, shown=stamp))


class Stamp:
    """Shows images, the first few of every batch with a trigger that was found.

    Args:
        case: whose images.
        found: triggers of all classes.
        label: the class whose trigger it is.
        share: of a batch that has it.
    """

    def __init__(self, case: RepairCase, found: Reversed, label: int, share: float) -> None:
        self.images, self.share = case.data, share
        self.mask, self.pattern = found.mask[label].to(case.data), found.pattern[label].to(case.data)

    def __call__(self, chosen: Tensor) -> Tensor:
        """Images ``[B, C, H, W]`` of numbers ``[B]``."""
        images, count = self.images[chosen], round(self.share * len(chosen))
        marked = (1 - self.mask) * images[:count] + self.mask * self.pattern
        return torch.cat([marked, images[count:]])


def audit_of(case: RepairCase) -> BackdoorAudit:
    """The case as what the detector looks at; it asks no explainer."""
    return BackdoorAudit(
        model=case.model,
        data=case.data,
        labels=case.labels,
        seed=case.seed,
        explainer=InputAgnosticSaliency(size=case.size),
        classes=tuple(range(case.classes)),
    )
