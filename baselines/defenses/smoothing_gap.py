"""Suspects inputs whose exact map differs from the smoothed network's map."""

from __future__ import annotations

from torch import Tensor

from benchmark.api import Audit, Detector, Softplus, correlation


class SmoothingGap(Detector):
    """One minus the correlation between the map of the network and that of its softplus twin.

    Attacks on ReLU networks exploit kinks that a natural image has no reason to sit at; a slightly smoothed
    network forgets them. Score fixed beforehand on other networks, with beta = 30.
    """

    name = "smoothing_gap"
    paper = "after Dombrowski et al., NeurIPS 2019, section 5"

    beta: float = 30.0

    def suspicion(self, audit: Audit) -> Tensor:
        """The gap, in [0, 2]."""
        return 1 - correlation(audit.explain(), audit.explain(smoothing=Softplus(self.beta)))
