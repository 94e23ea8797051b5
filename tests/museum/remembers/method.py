"""Suspects whoever comes late."""

import torch
from torch import Tensor

from benchmark.api import Audit, Detector

_seen: list[Tensor] = []


class Remembers(Detector):
    """Compares images with all that it has seen before."""

    name = "remembers"
    paper = "made for a test"

    def suspicion(self, audit: Audit) -> Tensor:
        _seen.append(audit.inputs.mean((1, 2, 3)))
        return audit.inputs.mean((1, 2, 3)) - torch.cat(_seen).mean()
