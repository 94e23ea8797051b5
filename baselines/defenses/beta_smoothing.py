"""Explains a network whose ReLUs are replaced by softplus (Dombrowski et al. 2019)."""

from __future__ import annotations

from benchmark.api import Explainer, Hardening, Softplus


class BetaSmoothing(Hardening):
    """Softplus with a small beta at explanation time only (section 5); predictions stay untouched.

    A small beta bounds the explanation's change by the change of the input (theorem 1), at the price of
    explaining another, smoother network.
    """

    name = "beta_smoothing"
    paper = "Dombrowski et al., Explanations can be manipulated and geometry is to blame, NeurIPS 2019"
    tracks = ("saliency", "fairwashing")
    params = {"beta": [1.0, 5.0, 10.0]}

    beta: float = 5.0

    def harden(self, explainer: Explainer) -> Explainer:
        """The explainer on the smoothed network."""
        return explainer.smoothed(Softplus(self.beta))
