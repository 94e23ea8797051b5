"""Control `always`: it must land where it must, or no board is written."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Audit, Detector


class Always(Detector):
    """Suspects everything alike, and therefore nothing at a fixed false positive rate."""

    name = "always"
    paper = "control"
    control = True
    bounds = {"auroc": (0.5, 0.5), "detection_rate": (0.0, 0.0)}

    def suspicion(self, audit: Audit) -> Tensor:
        """Ones."""
        return audit.inputs.new_ones(len(audit.inputs))
