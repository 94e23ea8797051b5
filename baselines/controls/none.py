"""Control `none`: it must land where it must, or no board is written."""

from __future__ import annotations

from benchmark.api import Explainer, Hardening


class NoDefense(Hardening):
    """The explainer as it is."""

    name = "none"
    paper = "control"
    control = True
    bounds = {"fidelity": (1.0, 1.0)}

    def harden(self, explainer: Explainer) -> Explainer:
        """The same explainer."""
        return explainer
