"""Control `random`: it must land where it must, or no board is written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from benchmark.api import Audit, BackdoorAudit, Detector, FairwashingAudit, VisualizationAudit


class Random(Detector):
    """Suspicion by chance, seeded by what is audited, so that order and batch do not matter."""

    name = "random"
    paper = "control"
    tracks = ("saliency", "visualization", "signature", "fairwashing")
    control = True
    bounds = {"auroc": (0.2, 0.8), "detected": (0.0, 0.5)}

    def suspicion(self, audit: Audit | VisualizationAudit | BackdoorAudit | FairwashingAudit) -> Tensor:
        """Uniform in [0, 1): of the image's pixels, or of the network's weights and the unit or class."""
        if isinstance(audit, Audit):
            values = audit.inputs.double().flatten(1).cpu()
        else:
            named = _numbers(audit)
            weights = [value.double().flatten().cpu() for value in audit.model.module.state_dict().values()]
            values = torch.cat(weights).expand(audit.samples, -1) + 0.001 * torch.tensor(named)[:, None]
        bits = (values * 2**20).round().long()
        weight = torch.arange(1, bits.shape[1] + 1) * 2654435761 + audit.seed % 2**31
        mixed = (bits * weight).sum(1)
        mixed = (mixed ^ (mixed >> 15)) * 2246822519 % 2**31
        return mixed.double() / 2**31


def _numbers(audit: VisualizationAudit | BackdoorAudit | FairwashingAudit) -> Sequence[int]:
    """What of a network is audited: classes, units, or the network alone."""
    if isinstance(audit, BackdoorAudit):
        return audit.classes
    return [unit.index for unit in audit.units] if isinstance(audit, VisualizationAudit) else [0]
