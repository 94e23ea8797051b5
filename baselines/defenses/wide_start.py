"""Starts the visualization far outside the zone that an attack has prepared."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer


class WideStart(Hardening):
    """Slingshots train starts within .1 of the mean image; these lie further out."""

    name = "wide_start"
    paper = "proposed beside Bareeva et al. 2025, whose attack trains narrow starts"
    tracks = ("visualization",)

    spread: float = 1.0

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """The same optimization from wider starts."""
        return replace(explainer, spread=self.spread)
