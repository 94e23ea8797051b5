"""Trains the network a little further on clean images."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from baselines.defenses.finetuning import finetuned, state_of
from benchmark.api import Repair, RepairCase


class CleanFinetuning(Repair):
    """AdamW on the cross entropy of the defender's images, batch norms' statistics frozen.

    What training put into the weights and answers do not need, training wears away, but slowly: the paper
    finds that backdoors outlast it.
    """

    name = "clean_finetuning"
    paper = "Liu, Dolan-Gavitt, Garg, Fine-pruning, RAID 2018, section 3.2"
    params = {"rate": [3e-4, 3e-3]}

    steps: int = 300
    rate: float = 3e-4

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """The weights after training."""
        return state_of(finetuned(case, case.model.trainable_copy(), self.steps, self.rate))
