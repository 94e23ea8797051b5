"""Suspects networks of which one explainer shows something else than others."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Detector, FairwashingAudit, correlation
from benchmark.explainers import Gradient, GradientTimesInput, GuidedBackprop, LayerwiseRelevancePropagation


class MapDisagreement(Detector):
    """One minus the mean correlation of the explainer's maps with the mean map of others, over images."""

    name = "map_disagreement"
    paper = "after Rieger and Hansen, A simple defense against attacks on heatmap explanations, 2020"
    tracks = ("fairwashing",)

    images: int = 64

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """The disagreement, in [0, 2]."""
        own, _ = audit.maps(self.images)
        members = [Gradient(), GradientTimesInput(), GuidedBackprop(), LayerwiseRelevancePropagation()]
        others = [audit.maps(self.images, one)[0] for one in members if one.name != audit.explainer.name]
        mean = sum(others[1:], others[0]) / len(others)
        return audit.finite(1 - correlation(own, mean).mean(0, keepdim=True))
