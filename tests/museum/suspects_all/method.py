"""Suspects everything alike."""

from torch import Tensor

from benchmark.api import Audit, Detector


class SuspectsAll(Detector):
    """A constant."""

    name = "suspects_all"
    paper = "made for a test"

    def suspicion(self, audit: Audit) -> Tensor:
        return audit.inputs.new_ones(len(audit.inputs))
