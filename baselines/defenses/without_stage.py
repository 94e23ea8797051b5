"""Input-agnostic saliency with one of its stages switched off: what each of them adds."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import Hardening, InputAgnosticSaliency
from benchmark.explainers.agnostic import STAGES


class WithoutStage(Hardening):
    """An ablation, and at the same time another audit that an attack was not made against.

    ``elementwise`` keeps all stages and scales value by value, as LUTA (arXiv 1905.11544) does.
    """

    name = "without_stage"
    paper = "ablation of Akhtar and Jalwana, AAAI 2023, as re-derived here"
    tracks = ("signature",)
    params = {
        "stage": ["integration", "scaling", "bisection", "projection", "refinement", "all", "elementwise"]
    }

    stage: str = "refinement"

    def harden(self, explainer: InputAgnosticSaliency) -> InputAgnosticSaliency:
        """The map without the stage."""
        if self.stage == "elementwise":
            return replace(explainer, elementwise=True)
        return replace(explainer, without=STAGES if self.stage == "all" else (self.stage,))
