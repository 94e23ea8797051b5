"""A detector of forged saliency maps: how far smoothing moves the map."""

from torch import Tensor

from benchmark.api import Audit, Detector, Softplus, correlation


class Template(Detector):
    """One minus the correlation between the map and that of a smoother network."""

    name = "template"
    paper = "say where it is from"
    beta: float = 5.0

    def suspicion(self, audit: Audit) -> Tensor:
        """One number per image; higher is more suspicious."""
        return 1 - correlation(audit.explain(), audit.explain(smoothing=Softplus(self.beta)))
