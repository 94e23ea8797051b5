"""Control `never`: it must land where it must, or no board is written."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Audit, Detector


class Never(Detector):
    """Suspects nothing."""

    name = "never"
    paper = "control"
    control = True
    bounds = {"auroc": (0.5, 0.5), "detection_rate": (0.0, 0.0)}

    def suspicion(self, audit: Audit) -> Tensor:
        """Zeros."""
        return audit.inputs.new_zeros(len(audit.inputs))
