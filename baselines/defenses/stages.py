"""Input-agnostic saliency with its stages switched on or off: what each of them adds."""

from __future__ import annotations

from dataclasses import replace

from benchmark.api import Hardening, InputAgnosticSaliency
from benchmark.explainers.agnostic import STAGES


class Stages(Hardening):
    """An ablation, and at the same time another audit that an attack was not made against.

    ``-stage`` switches one off, ``+stage`` one on; ``projection_only`` leaves that one alone, and
    ``elementwise`` scales value by value, as LUTA (arXiv 1905.11544) does.
    """

    name = "stages"
    paper = "ablation of Akhtar and Jalwana, AAAI 2023, as re-derived here"
    tracks = ("signature",)
    params = {
        "change": [
            "-integration",
            "-scaling",
            "-projection",
            "-refinement",
            "+bisection",
            "projection_only",
            "elementwise",
        ]
    }

    change: str = "+bisection"

    def harden(self, explainer: InputAgnosticSaliency) -> InputAgnosticSaliency:
        """The changed map.

        Raises:
            ValueError: a stage that does not exist.
        """
        sign, stage = self.change[0], self.change[1:]
        if self.change == "elementwise":
            return replace(explainer, elementwise=True)
        if self.change == "projection_only":
            return replace(explainer, without=tuple(name for name in STAGES if name != "projection"))
        if stage not in STAGES or sign not in "+-":
            raise ValueError(f"change must be +STAGE or -STAGE of {', '.join(STAGES)}, not {self.change!r}")
        others = tuple(name for name in explainer.without if name != stage)
        return replace(explainer, without=others if sign == "+" else (*others, stage))
