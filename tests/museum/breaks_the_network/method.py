"""A repair that leaves nothing of a forgery, nor of the network."""

import torch

from benchmark.api import Repair, RepairCase


class BreaksTheNetwork(Repair):
    """Zeros."""

    name = "breaks_the_network"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def repair(self, case: RepairCase) -> dict[str, torch.Tensor]:
        """All weights are zero."""
        return {name: torch.zeros_like(value) for name, value in case.model.module.state_dict().items()}
