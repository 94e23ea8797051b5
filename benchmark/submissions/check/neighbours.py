"""Whether samples of a batch interact: another sample is replaced, and the first has to stay as it was.

A batch is never compared with a single sample: random numbers are drawn for a whole batch, so a sound method
may give other noise to a smaller one. A batch of the same size draws the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmark.api import Query, Unit, VisualizationAudit
from benchmark.isolation.stand_ins import StandIn
from benchmark.methods.meter import Meter
from benchmark.tracks.saliency import steps as saliency_steps

Pair = Callable[[StandIn], tuple[Tensor, Tensor]]
"""Asks a method twice about the same first sample, in the company of another second one."""


def other_company(bench: Any) -> Any:
    """A saliency task whose second case is another."""
    cases, targets, others = bench.cases, bench.targets, bench.negatives

    def swapped(images: Any, index: int) -> Any:
        inputs, labels = images.inputs.clone(), images.labels.clone()
        inputs[1], labels[1] = others.inputs[index], others.labels[index]
        return replace(images, inputs=inputs, labels=labels)

    return replace(bench, cases=swapped(cases, 0), targets=swapped(targets, 1))


def pair_of_defense(bench: Any, kind: str) -> Pair | None:
    """What to ask a defense of a track; None where its samples may interact."""
    track = bench.task.track
    if track == "saliency":
        return lambda method: _images(bench, method)
    if track == "visualization":
        return lambda method: (_seeds if kind == "hardening" else _units)(bench, method)
    if kind == "hardening":
        asked = _shown if track == "fairwashing" else _classes
        return lambda method: asked(bench, method)
    return None  # the classes of one network are one question


def _images(bench: Any, defense: Any) -> tuple[Tensor, Tensor]:
    other = bench.cases.inputs.clone()
    other[1] = bench.negatives.inputs[0]
    answers = [
        saliency_steps.judge(bench, defense, {"inputs": inputs}, 0, Meter())
        for inputs in (bench.cases.inputs, other)
    ]
    first, second = (next(iter(answer.values()))[0] for answer in answers)
    return first, second


def _seeds(bench: Any, hardening: Any) -> tuple[Tensor, Tensor]:
    case = bench.cases[0]
    shown = hardening.harden(bench.explainer)
    first, second = (shown.explain(bench.models[case.victim], [case.unit], pair) for pair in ((1, 2), (1, 3)))
    return first[0, 0], second[0, 0]


def _units(bench: Any, detector: Any) -> tuple[Tensor, Tensor]:
    case = bench.cases[0]
    suspicions = []
    for other in (0, 1):
        audit = VisualizationAudit(
            model=bench.models[case.victim].observed_by(Meter()),
            explainer=bench.explainer,
            units=(case.unit, Unit(case.unit.layer, other)),
            data=bench.auditor.images,
            labels=bench.auditor.labels,
            seed=1,
        )
        suspicions.append(detector.suspicion(audit))
    return suspicions[0][0], suspicions[1][0]


def _classes(bench: Any, hardening: Any) -> tuple[Tensor, Tensor]:
    explainer, model = hardening.harden(bench.explainer), bench.clean(bench.task.cases[0])
    first, second = (explainer.explain(model, pair, 1) for pair in ((0, 1), (0, 2)))
    return first[0], second[0]


def _shown(bench: Any, hardening: Any) -> tuple[Tensor, Tensor]:
    case = bench.cases[0]
    explainer, model = hardening.harden(bench.explainer), bench.models[case.victim]
    inputs, labels = case.images.inputs[:2], case.images.labels[:2]
    other = torch.cat([inputs[:1], case.mates.inputs[:1]])
    maps = [explainer.explain(model, Query(images, labels, 1)) for images in (inputs, other)]
    return maps[0][0], maps[1][0]


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two answers agree up to rounding."""
    if first.shape != second.shape:
        return False
    first, second = first.double(), second.double()
    scale = float(first.nan_to_num(0.0, 0.0, 0.0).abs().max()) if first.numel() else 0.0
    return torch.allclose(first, second, rtol=1e-5, atol=1e-6 * scale, equal_nan=True)


def all_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether two steps' tensors agree up to rounding."""
    return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
