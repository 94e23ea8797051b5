"""A detector of networks with false maps: maps of different images that are alike."""

from torch import Tensor

from benchmark.api import Detector, FairwashingAudit, correlation


class Template(Detector):
    """Mean correlation of maps of neighboring natural images."""

    name = "template"
    paper = "say where it is from"
    tracks = ("fairwashing",)

    def suspicion(self, audit: FairwashingAudit) -> Tensor:
        """One number; higher is more suspicious."""
        maps, _ = audit.maps(64)
        return correlation(maps, maps.roll(1, 0)).mean(0, keepdim=True)
