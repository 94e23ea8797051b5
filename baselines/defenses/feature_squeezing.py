"""Suspects inputs whose map changes when the input is squeezed (after Xu et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.api import Audit, Detector, correlation


class FeatureSqueezing(Detector):
    """One minus the lower correlation of the map with those of a bit-reduced and a median-filtered input.

    Xu et al. compare predictions, which an attack on explanations leaves alone; here it is the maps.
    """

    name = "feature_squeezing"
    paper = "Xu et al., Feature squeezing: detecting adversarial examples, NDSS 2018, applied to maps"

    bits: int = 4

    def suspicion(self, audit: Audit) -> Tensor:
        """The larger of the two changes, in [0, 2]."""
        levels = 2**self.bits - 1
        squeezed = [torch.round(audit.inputs * levels) / levels, self.median(audit.inputs)]
        maps = audit.explain()
        agreements = [correlation(maps, audit.explain(inputs)) for inputs in squeezed]
        return 1 - torch.stack(agreements).amin(0)

    def median(self, inputs: Tensor) -> Tensor:
        """3x3 median filter with reflected edges, ``[N, C, H, W]``."""
        padded = functional.pad(inputs, (1, 1, 1, 1), mode="reflect")
        windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        return windows.median(-1).values
