"""Shows what several procedures agree on."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import FeatureVisualization, Hardening, Visualizer
from benchmark.explainers.visualization import Consensus, Fourier, Transformations


class ConsensusOfProcedures(Hardening):
    """The pixelwise median of a clipped, a Fourier and a transformed visualization.

    To show a picture an attack has to win under two of the three.
    """

    name = "consensus"
    paper = "after Rieger and Hansen 2020, who aggregate saliency maps"
    tracks = ("visualization",)

    def harden(self, explainer: FeatureVisualization) -> Visualizer:
        """Three procedures, one image."""
        return Consensus(
            (
                replace(explainer, clip=1.0),
                replace(explainer, parametrization=Fourier(), optimizer="adam", learning_rate=0.05),
                replace(
                    explainer,
                    optimizer="adam",
                    learning_rate=0.1,
                    clip=1.0,
                    transformations=Transformations(),
                ),
            )
        )
