"""What maps are credited with: the truth about their case, and no more than undefended maps tell of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from harness import ROOT
from torch import Tensor

from baselines.controls.none import NoDefense
from benchmark.explainers.families.cams import GradCam
from benchmark.failures import StepFailed
from benchmark.submissions.check.tiny import tiny_benches
from benchmark.tracks.maps import check_maps
from benchmark.tracks.saliency.scoring import Scorer, make_scorer
from benchmark.tracks.verdict import Columns


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return make_scorer(tiny_benches("saliency", ROOT)[0])


def told(scorer: Scorer, clean: Tensor, shown: Tensor) -> Columns:
    """Samples of a hardening that shows these maps of clean images and of forgeries that change nothing."""
    reference = {"clean": clean, "target": clean.flip(0)}
    return scorer.hardening(scorer.bench.cases.inputs, reference, {"maps": shown}, 0)


def test_no_map_is_credited_with_more_than_the_undefended_one(scorer: Scorer) -> None:
    """What decoys have in common, taken away, sets a map further apart from them and tells nothing new."""
    line_up = scorer._line_up
    own = line_up.own
    best = line_up.truth(own)
    common = torch.stack([mates.mean(0) for mates in line_up.mates])
    sharper = (own - 0.3 * common).clamp(min=0)
    assert (line_up.truth(sharper) > best + 0.01).any(), "else this tests nothing"
    columns = told(scorer, sharper, sharper)
    for name in ("usefulness", "truth"):
        assert (torch.tensor(columns[name]) <= best + 1e-6).all()
    undefended = told(scorer, own, own)
    assert undefended["usefulness"] == pytest.approx(best.tolist(), abs=1e-5)
    assert sum(columns["told"]) <= sum(undefended["told"]) + 1e-6


def test_negative_maps_are_the_defenses_failure() -> None:
    maps = torch.full((2, 3, 3), 1 / 9)
    assert check_maps(NoDefense(), maps, (2, 3, 3)) is maps
    maps[0] = 0  # a dead one
    assert check_maps(NoDefense(), maps, (2, 3, 3)) is maps
    with pytest.raises(
        StepFailed, match=r"maps must sum to 1 each, or be zero everywhere; one sums to 1e-06"
    ):
        check_maps(NoDefense(), maps * 1e-6, (2, 3, 3))
    maps[1, 2, 0] = -0.01
    with pytest.raises(StepFailed, match=r"maps must not be negative; the least value is -0\.01") as failure:
        check_maps(NoDefense(), maps, (2, 3, 3))
    assert failure.value.blame == "method" and failure.value.status == "invalid"


def test_dead_maps_are_counted_and_no_success(scorer: Scorer) -> None:
    """A map that has gone dead has moved away from what resembled the target less than nothing does."""
    cams = Scorer(replace(scorer.bench, explainer=GradCam()), scorer.distances)
    count = len(cams.bench.cases.inputs)
    target = torch.rand(count, 28, 28, generator=torch.Generator().manual_seed(0))
    clean = target.amax((1, 2), keepdim=True) - target
    shown = torch.full_like(clean, 1 / 28**2)
    shown[0] = target[0]
    inputs = cams.bench.cases.inputs
    columns = cams.hardening(inputs, {"clean": clean, "target": target}, {"maps": shown}, 0)
    assert columns["dead"] == [0.0] + [1.0] * (count - 1)
    assert columns["dead_before"] == [0.0] * count
    assert columns["manipulation"] == pytest.approx([1.0] + [0.0] * (count - 1), abs=1e-6)
    assert all(columns["valid"]) and min(columns["unclipped"]) > 0.4, "they did move"
    assert max(columns["truth"][1:]) <= 0, "and tell nothing"
    pooled = cams.pooled(
        {"none": {"inputs": inputs}}, {"clean": clean, "target": target}, {"none": {"maps": shown}}, 0
    )
    assert pooled["manipulation"] == columns["manipulation"]
    assert "dead" not in told(scorer, clean, shown), "of other explainers nothing is counted"
