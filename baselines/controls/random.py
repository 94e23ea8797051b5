"""Control `random`: it must land where it must, or no board is written."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmark.api import Audit, Detector, VisualizationAudit


class Random(Detector):
    """Suspicion by chance, seeded by what is audited, so that order and batch do not matter."""

    name = "random"
    paper = "control"
    tracks = ("saliency", "visualization")
    control = True
    bounds = {"auroc": (0.2, 0.8), "detection_rate": (0.0, 0.3)}

    def suspicion(self, audit: Audit | VisualizationAudit) -> Tensor:
        """Uniform in [0, 1): of the image's pixels, or of the network's weights and the unit."""
        if isinstance(audit, VisualizationAudit):
            weights = [value.double().flatten().cpu() for value in audit.model.module.state_dict().values()]
            units = torch.tensor([unit.index for unit in audit.units]).double()
            values = torch.cat(weights).expand(audit.samples, -1) + 0.001 * units[:, None]
        else:
            values = audit.inputs.double().flatten(1).cpu()
        bits = (values * 2**20).round().long()
        weight = torch.arange(1, bits.shape[1] + 1) * 2654435761 + audit.seed % 2**31
        mixed = (bits * weight).sum(1)
        mixed = (mixed ^ (mixed >> 15)) * 2246822519 % 2**31
        return mixed.double() / 2**31
