"""SIG: a faint sinusoidal signal over the whole image (Barni et al. 2019)."""

from __future__ import annotations

import math

import torch

from baselines.attacks.poisoning import Poisoning
from benchmark.api import BackdoorCase, Trigger


class Sig(Poisoning):
    """``x + d sin(2 pi j f / W)`` over columns j, d = 40/255.

    The paper poisons images of the target class alone and keeps their labels; here labels are changed, as for
    every attack of the track, since the network is fine-tuned only. The frequency is drawn per case.
    """

    name = "sig"
    paper = "Barni, Kallas, Tondi, ICIP 2019 (arXiv 1902.11237)"

    amplitude: float = 40 / 255
    frequencies: tuple[int, ...] = (4, 6, 8)

    def trigger(self, case: BackdoorCase) -> Trigger:
        """The signal."""
        drawn = int(torch.randint(len(self.frequencies), (), generator=case.generator))
        width = case.size[2]
        signal = torch.sin(2 * math.pi * self.frequencies[drawn] * torch.arange(width) / width)
        return Trigger(addition=(self.amplitude * signal).expand(case.size).contiguous())
