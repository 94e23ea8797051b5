"""Takes batch norms' statistics anew from clean images."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from baselines.defenses.finetuning import norms_of, state_of
from benchmark.api import Repair, RepairCase
from benchmark.explainers import UnsupportedLayer


class BatchNormReestimation(Repair):
    """Running means and variances are those of the defender's images; no weight is trained.

    A network that was forged with its statistics frozen has other statistics than those that it stores, and
    what it was trained to show needs the stored ones. Batches run in training mode, layer upon layer; the
    statistics are the means of theirs, which is what torch's cumulative average is (``momentum=None``).
    """

    name = "batch_norm_reestimation"
    paper = "Noppel, Peter, Wressnegger, Disguising attacks, S&P 2023; Kadir et al. (CFN), 2024"

    batch: int = 250

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """The weights as they were, with statistics of the defender's images.

        Raises:
            UnsupportedLayer: the network keeps no such statistics.
        """
        model = case.model.trainable_copy()
        norms = norms_of(model)
        if not norms:
            raise UnsupportedLayer("the network has no batch norm whose statistics could be taken anew")
        for norm in norms:
            norm.train()
            norm.momentum = None
            norm.reset_running_stats()
        with torch.no_grad():
            for images in case.data.split(self.batch):
                model(images)
        return state_of(model)
