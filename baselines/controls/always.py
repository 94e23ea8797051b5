"""Control `always`: it must land where it must, or no board is written."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Audit, BackdoorAudit, Detector, FairwashingAudit, VisualizationAudit


class Always(Detector):
    """Suspects everything alike, and therefore nothing at a fixed false positive rate."""

    name = "always"
    paper = "control"
    tracks = ("saliency", "visualization", "signature", "fairwashing")
    control = True
    bounds = {"auroc": (0.5, 0.5), "detected": (0.0, 0.0)}

    def suspicion(self, audit: Audit | VisualizationAudit | BackdoorAudit | FairwashingAudit) -> Tensor:
        """Ones."""
        return torch.ones(audit.samples)
