"""The attacks of an audit: each picture's best forgery of those that some of the suite's attacks make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Attack, Hardening
from benchmark.auditing.resemblance import settled
from benchmark.methods.meter import Meter
from benchmark.metrics.similarity import pcc
from benchmark.running.registry import Registry
from benchmark.tracks.images import predictions
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.workbench import Workbench

BY_GRADIENTS, BY_QUERIES = "dombrowski", "square_search"
_QUERIES = 3
"""Steps of the attack by queries, for one by gradients."""
_LOST = 4
"""More than correlations differ by: what loses the prediction is no forgery."""

Forged = tuple[Tensor, Tensor]
"""Pictures ``[N, C, H, W]`` and their maps ``[N, H, W]``."""


def attack_of(registry: Registry, name: str, iterations: int) -> Attack:
    """One of the two attacks, of so many steps by gradients or three times as many queries."""
    entry = registry.attacks([name])[0]
    length = {"iterations": iterations} if name == BY_GRADIENTS else {"steps": _QUERIES * iterations}
    attack = replace(entry, settings={**entry.settings, **length}).create()
    assert isinstance(attack, Attack)
    return attack


def forged_by(
    attacks: Sequence[Attack],
    bench: Workbench,
    hardening: Hardening,
    mode: Any,
    target: Tensor,
    labels: Tensor | None = None,
) -> Forged:
    """The best forgery of each picture, of those of several attacks.

    Args:
        attacks: at least one.
        bench: network, explainer and pictures.
        hardening: whose maps are shown.
        mode: whether the attacks know it.
        target: maps ``[N, H, W]``.
        labels: classes that are explained; those that are predicted of each forgery by default.
    """
    best: Forged | None = None
    for attack in attacks:
        forgery = steps.forge(bench, attack, hardening, mode, 0, Meter())
        made = forgery["inputs"], settled(steps.judge(bench, hardening, forgery, 0, Meter(), labels)["maps"])
        best = made if best is None else _better(bench, made, best, target)
    assert best is not None
    return best


def kept(bench: Workbench, inputs: Tensor) -> Tensor:
    """Whether the prediction of each forged picture is the picture's."""
    return predictions(bench.model, inputs) == predictions(bench.model, bench.cases.inputs)


def _better(bench: Workbench, new: Forged, old: Forged, target: Tensor) -> Forged:
    gains = [pcc(maps, target) - _LOST * (~kept(bench, inputs)).double() for inputs, maps in (new, old)]
    better = (gains[0] > gains[1])[:, None, None]
    return torch.where(better[:, None], new[0], old[0]), torch.where(better, new[1], old[1])
