"""Suspects classes whose visualized logit shows, in one window, what no other class's does."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.defenses.signature import windowed_deviation
from benchmark.api import BackdoorAudit, Detector, FeatureVisualization, Unit


class LogitVisualization(Detector):
    """Windowed deviation of plain feature visualizations from their siblings.

    The picture v_l of class l is the mean, over seeds of the starting noise, of what a few steps of plain
    gradient ascent on the logit of l lead to, less the network's mean input. With V_l of norm 1, the
    suspicion is the energy by which V_l exceeds all its siblings in its best window,
    ``max_W sum_W max(0, V_l - max_{k != l} V_k)^2``: the measure for input-agnostic saliency, so that the
    detectors differ in the explanation alone.

    Few steps, and none of Adam: the gradient's size says where the logit is steep. Long ascents and steps of
    equal size in every pixel fill the picture to black and white everywhere.
    """

    name = "logit_visualization"
    paper = "after Erhan et al. 2009 and Bareeva et al. 2025; as a detector proposed here"
    tracks = ("signature",)

    seeds: int = 2
    steps: int = 10
    learning_rate: float = 1.0

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """The deviation of each class's picture."""
        return audit.finite(windowed_deviation(self.pictures(audit)))

    def pictures(self, audit: BackdoorAudit) -> Tensor:
        """What the logits ask for, ``[K, C, H, W]``, relative to the mean input."""
        procedure = FeatureVisualization(audit.size, learning_rate=self.learning_rate, steps=self.steps)
        generator = torch.Generator().manual_seed(audit.seed)
        seeds = torch.randint(2**31, (self.seeds,), generator=generator).tolist()
        units = [Unit("logits", label) for label in audit.classes]
        shown = procedure.explain(audit.model, units, seeds).mean(1)
        return audit.finite(shown - audit.model.mean)
