"""What attacks on maps do about a detector without a gradient: shrink the forgery until it is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.attacks.usual import Usual
from benchmark.api import Audit, Case, Detector

SHARES = (1.0, 0.97, 0.93, 0.87, 0.75, 0.6, 0.4, 0.2)
"""Of a forgery's change that is kept. Small cuts already leave the ends of the budget."""


_NATURAL = 0.9
"""Share of natural images that a forgery may be as suspicious as."""


def usual(case: Case) -> Usual:
    """What a case's detector suspects of the attacker's own images; nothing where there is none."""
    if case.detector is None:
        return Usual(0.0, 1.0)
    natural = case.data[: 2 * len(case.inputs)]
    labels = case.model(natural).argmax(1)
    audit = Audit(case.model, case.explainer, natural, labels, case.data, 0)
    return Usual.of(case.detector.suspicion(audit), _NATURAL)


@dataclass(frozen=True)
class _InUnits:
    """A detector whose suspicions are divided by a unit."""

    detector: Detector
    unit: float

    def suspicion(self, audit: Audit) -> Tensor:
        return self.detector.suspicion(audit) / self.unit


def in_usual_units(case: Case) -> Case:
    """The case, its detector's suspicions in a unit in which a weight for usual ones is right."""
    if case.detector is None:
        return case
    with torch.no_grad():
        unit = usual(case).unit
    if unit == 1:
        return case
    return Case(**{**vars(case), "detector": _InUnits(case.detector, unit)})


def shrunk(case: Case, forged: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Of each forgery ``[N, C, H, W]`` the share of its change with the least loss ``[N]``, of eight bits."""
    found = [case.eight_bits(case.inputs + share * (forged - case.inputs)) for share in SHARES]
    losses = torch.stack([loss(inputs) for inputs in found])
    return torch.stack(found)[losses.argmin(0), torch.arange(len(forged), device=losses.device)]
