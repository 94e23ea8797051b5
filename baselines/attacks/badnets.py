"""BadNets: a small patch in a fixed place (Gu et al. 2017)."""

from __future__ import annotations

from baselines.attacks.poisoning import Poisoning
from benchmark.api import BackdoorCase, Trigger, patch_trigger


class BadNets(Poisoning):
    """``x (1 - m) + p m``: a patch of the case's pattern at the case's place, opaque."""

    name = "badnets"
    paper = "Gu, Dolan-Gavitt, Garg, BadNets, 2017 (arXiv 1708.06733)"

    extent: int = 4
    """Height and width of the patch in pixels."""

    def trigger(self, case: BackdoorCase) -> Trigger:
        """The patch."""
        return patch_trigger(case.pattern, case.place, self.extent, case.size)
