"""Control `never`: it must land where it must, or no board is written."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Audit, BackdoorAudit, Detector, FairwashingAudit, VisualizationAudit


class Never(Detector):
    """Suspects nothing."""

    name = "never"
    paper = "control"
    tracks = ("saliency", "visualization", "signature", "fairwashing")
    control = True
    bounds = {"auroc": (0.5, 0.5), "detected": (0.0, 0.0)}

    def suspicion(self, audit: Audit | VisualizationAudit | BackdoorAudit | FairwashingAudit) -> Tensor:
        """Zeros."""
        return torch.zeros(audit.samples)
