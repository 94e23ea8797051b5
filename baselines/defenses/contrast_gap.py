"""Suspects networks whose logits carry what their differences do not."""

from __future__ import annotations

from torch import Tensor

from baselines.defenses.contrastive import ContrastiveExplainer
from benchmark.api import Detector, FairwashingAudit, correlation


class ContrastGap(Detector):
    """One minus the mean correlation of maps of logits with maps of their differences.

    A shift of all logits is in the first and not in the second.
    """

    name = "contrast_gap"
    paper = "after Srinivas and Fleuret, Rethinking the role of gradient-based attribution methods, ICLR 2021"
    tracks = ("fairwashing",)

    images: int = 64

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """The gap, in [0, 2]."""
        plain, _ = audit.maps(self.images)
        apart, _ = audit.maps(self.images, ContrastiveExplainer(audit.explainer, "mean"))
        return audit.finite(1 - correlation(plain, apart).mean(0, keepdim=True))
