"""Samples of broken networks, their distances and their names."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from signature_scores import (
    FIELDS,
    JUDGED,
    MAPS,
    POOLS,
    SIZE,
    SUSPICION,
    Columns,
    N,
    Tensors,
    handmade,
    logits_of,
    natural,
    stamped,
    state,
    stored,
    target_of,
    victim_of,
)
from torch import Tensor

from benchmark.api import Trigger
from benchmark.tracks.shared import Distances
from benchmark.tracks.signature.scoring import Scorer, make_scorer
from benchmark.tracks.signature.workbench import Workbench

# Networks that are broken.


def finite(columns: Columns) -> bool:
    """Whether every number is one."""
    return all(math.isfinite(v) for values in columns.values() for v in values if isinstance(v, float))


def test_networks_that_overflow_are_scored_with_finite_numbers(
    workbench: Workbench, forgery: Tensors
) -> None:
    ruined = {key: 1e30 * value if "/weights/" in key else value for key, value in forgery.items()}
    for inputs in ((MAPS, JUDGED), (POOLS, SUSPICION)):
        columns = make_scorer(workbench).score(ruined, *inputs, 0)
        assert finite(columns) and columns["manipulation"] == [0.0] * N
        assert min(columns["accuracy_drop"]) > 0.5


@pytest.mark.parametrize("target", [0, 3])
def test_a_logit_that_is_not_finite_is_no_success(target: int) -> None:
    """Not for class 0 either, which is what argmax says of a row of equal values."""
    cases = [{"target_class": target, "row": 0, "column": 0}]
    workbench = handmade(cases=cases, budget={**FIELDS["budget"], "accuracy_drop": 1.0})
    weights = state("fashion-mini-1")
    for name in weights:
        weights[name] = weights[name] * 1e30
    trigger = Trigger(opacity=torch.ones(SIZE), picture=torch.ones(SIZE))
    assert not np.isfinite(logits_of("fashion-mini-1", weights, torch.ones(1, *SIZE))).all()
    columns = make_scorer(workbench).score(
        stored([weights], [trigger]),
        {**MAPS, "clean": MAPS["clean"][:1]},
        {name: maps[:1] for name, maps in JUDGED.items()},
        0,
    )
    assert columns["attack_success"] == [0.0]
    assert columns["valid"] == [False] and columns["manipulation"] == [0.0]


# Perceptual distances and names.


def test_distances_are_reported_of_inputs_and_of_pictures(workbench: Workbench, forgery: Tensors) -> None:
    """One that is at hand, and one whose weights are missing."""

    def largest(first: Tensor, second: Tensor) -> Tensor:
        assert first.min() >= 0 and first.max() <= 1 and second.min() >= 0 and second.max() <= 1
        return (first - second).abs().flatten(1).amax(1)

    distances: Any = Distances({"lpips": largest}, {"stlpips": "no weights here"})
    names = ["pcc", "ssim", "lpips", "stlpips"]
    task = workbench.task.model_copy(
        update={"metrics": workbench.task.metrics.model_copy(update={"report": names})}
    )
    scorer = Scorer(handmade(**task.model_dump(include={"metrics"})), distances)
    columns = scorer.score(forgery, MAPS, JUDGED, 0)
    images, labels = natural()
    for index in range(N):
        others = images[torch.from_numpy(labels != target_of(index))][:64]
        expected = (stamped(index, others) - others).abs().flatten(1).amax(1).mean()
        assert columns["lpips_input"][index] == pytest.approx(float(expected), abs=1e-5)
        assert 0 < columns["lpips_trigger"][index] <= 1
    assert columns["stlpips_input"] == columns["stlpips_trigger"] == [None] * N
    harmless = stored([state(victim_of(index)) for index in range(N)], [None] * N)
    controls = scorer.score(harmless, MAPS, JUDGED, 0)
    assert controls.keys() == columns.keys()
    assert controls["lpips_input"] == [0.0] * N and controls["lpips_trigger"] == [None] * N


def test_a_sample_is_named_by_network_class_place_and_pattern_alone(workbench: Workbench) -> None:
    ids = make_scorer(workbench).sample_ids()
    assert len(set(ids)) == N
    named = {"target_class": 3, "row": 20, "column": 21, "pattern": "square", "victim": "fashion-mini-1"}
    text = json.dumps(named, separators=(",", ":"))
    assert ids[0] == hashlib.sha256(text.encode()).hexdigest()[:16]
    moved = [
        {**FIELDS["cases"][0], **change}
        for change in ({"row": 19}, {"column": 20}, {"target_class": 4}, {"pattern": "cross"})
    ]
    other = handmade(
        cases=[*FIELDS["cases"][::-1], *moved, {**FIELDS["cases"][0], "victim": "fashion-mini-1"}],
        version=2,
        budget={"accuracy_drop": 0.5},
        metrics={},
        precision="float64",
    )
    again = make_scorer(other).sample_ids()
    assert again[:3] == ids[::-1] and len(set(again)) == 7 and again[-1] == ids[0]
