"""Control `none`: it must land where it must, or no board is written."""

from __future__ import annotations

from typing import TypeVar

from benchmark.api import ClassExplainer, Explainer, Hardening, Visualizer

AnyExplainer = TypeVar("AnyExplainer", Explainer, Visualizer, ClassExplainer)


class NoDefense(Hardening):
    """The explainer as it is."""

    name = "none"
    paper = "control"
    tracks = ("saliency", "visualization", "signature", "fairwashing")
    control = True
    bounds = {"fidelity": (1.0, 1.0)}

    def harden(self, explainer: AnyExplainer) -> AnyExplainer:
        """The same explainer."""
        return explainer
