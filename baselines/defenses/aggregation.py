"""Averages the maps of several explainers (Rieger and Hansen 2020)."""

from __future__ import annotations

from benchmark.api import Explainer, Hardening
from benchmark.explainers import (
    Aggregate,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    LayerwiseRelevancePropagation,
)


class Aggregation(Hardening):
    """AGG-Mean: the mean of normalized maps, claimed to be robust against one that knows all members."""

    name = "aggregation"
    paper = "Rieger and Hansen, A simple defense against adversarial attacks on heatmap explanations, 2020"
    tracks = ("saliency", "fairwashing")

    def harden(self, explainer: Explainer) -> Explainer:
        """The explainer together with the members that it is not."""
        members: list[Explainer] = [
            Gradient(),
            GradientTimesInput(),
            GuidedBackprop(),
            LayerwiseRelevancePropagation(),
        ]
        others = [member for member in members if member.name != explainer.name]
        return Aggregate((explainer, *others), name=self.name)
