"""A repair that gives back whatever network it was handed first."""

import torch

from benchmark.api import Repair, RepairCase

KEPT: list[dict[str, torch.Tensor]] = []


class LearnsByHeart(Repair):
    """Keeps the first network that it sees, which may be a clean one."""

    name = "learns_by_heart"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def repair(self, case: RepairCase) -> dict[str, torch.Tensor]:
        """That network's weights."""
        KEPT.append({name: value.clone() for name, value in case.model.module.state_dict().items()})
        return KEPT[0]
