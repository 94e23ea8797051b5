"""A repair that gives back a network with a layer more."""

import torch

from benchmark.api import Repair, RepairCase


class AddsALayer(Repair):
    """Adds a layer that nobody asked for."""

    name = "adds_a_layer"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def repair(self, case: RepairCase) -> dict[str, torch.Tensor]:
        """The weights, and an extra one."""
        return {**case.model.module.state_dict(), "extra.weight": torch.eye(10)}
