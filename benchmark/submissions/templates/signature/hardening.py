"""A hardening of class maps: broader draws."""

from dataclasses import replace

from benchmark.api import ClassExplainer, Hardening, InputAgnosticSaliency


class Template(Hardening):
    """The same map from draws of another spread."""

    name = "template"
    paper = "say where it is from"
    tracks = ("signature",)
    spread: float = 2.0

    def harden(self, explainer: InputAgnosticSaliency) -> ClassExplainer:
        """The map from broader draws."""
        return replace(explainer, spread=self.spread)
