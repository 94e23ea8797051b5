"""A detector of backdoors: a class whose map is concentrated more than its siblings'."""

from torch import Tensor

from benchmark.api import BackdoorAudit, Detector


class Template(Detector):
    """Share of a map's energy in its sixteen strongest positive pixels."""

    name = "template"
    paper = "say where it is from"
    tracks = ("signature",)

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """One number per class; higher is more suspicious."""
        maps = audit.finite(audit.maps()).flatten(1)
        strongest = maps.clamp_min(0).topk(16).values.square().sum(1)
        return strongest / maps.square().sum(1).clamp_min(1e-12)
