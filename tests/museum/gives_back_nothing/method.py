"""A repair that forgets to return its weights."""

from typing import Any

from benchmark.api import Repair, RepairCase


class GivesBackNothing(Repair):
    """Trains, and keeps it."""

    name = "gives_back_nothing"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def repair(self, case: RepairCase) -> Any:
        """Nothing."""
        case.model.trainable_copy()
