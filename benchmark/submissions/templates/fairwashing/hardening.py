"""A hardening of maps: the map of a smoother network."""

from benchmark.api import Explainer, Hardening, Softplus


class Template(Hardening):
    """Explains with softplus instead of ReLU."""

    name = "template"
    paper = "say where it is from"
    tracks = ("fairwashing",)
    beta: float = 5.0

    def harden(self, explainer: Explainer) -> Explainer:
        """The smoothed explainer."""
        return explainer.smoothed(Softplus(self.beta))
