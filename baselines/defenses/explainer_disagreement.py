"""Suspects inputs on which several explainers disagree."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from benchmark.api import Audit, Detector, Explainer, Query, correlation
from benchmark.explainers import (
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    LayerwiseRelevancePropagation,
)


class ExplainerDisagreement(Detector):
    """One minus the mean correlation over all pairs of explainers, the audited one among them."""

    name = "explainer_disagreement"
    paper = "after Rieger and Hansen 2020, who average what is compared here"

    def suspicion(self, audit: Audit) -> Tensor:
        """The disagreement, in [0, 2]."""
        others: list[Explainer] = [
            Gradient(),
            GradientTimesInput(),
            GuidedBackprop(),
            LayerwiseRelevancePropagation(),
        ]
        query = Query(audit.inputs, audit.labels, audit.seed)
        maps = [audit.explain()]
        maps += [other.explain(audit.model, query) for other in others if other.name != audit.explainer.name]
        agreements = [correlation(first, second) for first, second in combinations(maps, 2)]
        return 1 - torch.stack(agreements).mean(0)
