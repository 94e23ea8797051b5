"""A detector of forged networks: activations that visualizations reach unlike their siblings'."""

from torch import Tensor

from benchmark.api import Detector, VisualizationAudit


class Template(Detector):
    """Distance of what a unit's visualization reaches from the median of the layer's units."""

    name = "template"
    paper = "say where it is from"
    tracks = ("visualization",)

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """One number per unit; higher is more suspicious."""
        shown = audit.visualize(seeds=2, steps=30, units=audit.siblings())
        return audit.among_siblings(audit.finite(shown.activations[:, :, -1]).mean(1))
