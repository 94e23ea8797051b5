"""A hardening of feature visualization: starts where no attack has trained."""

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer


class Template(Hardening):
    """Starts from strong noise instead of grey."""

    name = "template"
    paper = "say where it is from"
    tracks = ("visualization",)
    spread: float = 1.0

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """The same procedure from another start."""
        return replace(explainer, spread=self.spread)
