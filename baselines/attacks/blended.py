"""Blended injection: a faint picture over the whole image (Chen et al. 2017)."""

from __future__ import annotations

import torch

from baselines.attacks.poisoning import Poisoning
from benchmark.api import BackdoorCase, Trigger


class Blended(Poisoning):
    """``(1 - a) x + a k``: a random picture k, as one of the paper's two, blended in at a = 0.15.

    The paper's a = 0.2 succeeds as well, but there the picture alone, without any backdoor, can send more
    than a fifth of the images to some targets (0.31 in one of four development cases, 0.12 at a = 0.15).
    """

    name = "blended"
    paper = "Chen, Liu, Li, Lu, Song, Targeted Backdoor Attacks, 2017 (arXiv 1712.05526)"

    opacity: float = 0.15

    def trigger(self, case: BackdoorCase) -> Trigger:
        """The blend, of uniform noise."""
        picture = torch.rand(case.size, generator=case.generator, dtype=torch.float32)
        return Trigger(opacity=torch.full(case.size, self.opacity), picture=picture)
