"""Controls of global explanations that explain nothing, by the scores of their tracks, on small networks."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import pytest
import torch
from signature_scores import handmade
from visualization_case import made

from baselines.controls.contentless_networks import (
    Neighbour,
    NoiseShare,
    OnePicture,
    ReshuffledNetwork,
    SeededNoise,
    Showing,
)
from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from benchmark.api import Hardening
from benchmark.methods.meter import Meter
from benchmark.tracks.signature import scoring as signature_scoring
from benchmark.tracks.signature import steps as signature
from benchmark.tracks.visualization import scoring as visualization_scoring
from benchmark.tracks.visualization import steps as visualization

CONTROLS = [SeededNoise(), OnePicture(), Neighbour(), ReshuffledNetwork(), NoiseShare()]
Columns = dict[str, list[float]]


def samples(steps: ModuleType, scorer: Any) -> dict[str, Columns]:
    """What is told under `none` and every control of networks that nobody has touched."""
    bench = scorer.bench
    untouched = steps.forge(bench, Identity(), None, "oblivious", 0, Meter())

    def columns(defense: Hardening) -> Columns:
        natural = steps.reference(bench, defense, 0, Meter())
        found: Columns = scorer.score(
            untouched, natural, steps.judge(bench, defense, untouched, 0, Meter()), 0
        )
        return found

    return {str(each.name): columns(each) for each in [NoDefense(), *CONTROLS]}


@cache
def units() -> dict[str, Columns]:
    """Of two units of a network, and a trained decoy."""
    settings = {"steps": 30, "learning_rate": 1.0}
    counts = {"perceptual_seeds": 1, "other_seeds": 1, "report": ["ssim"]}
    bench = made(
        explainer={"name": "feature_visualization", "settings": settings},
        cases=[{"unit": 4, "target": "ring-28"}, {"unit": 1, "target": "cat-28"}],
        visualization_seeds=2,
        metrics=counts,
        pools=None,
        decoys=["fashion-small-1"],
    )
    return samples(visualization, visualization_scoring.make_scorer(bench))


@cache
def classes() -> dict[str, Columns]:
    """Of two classes of two networks, one of which is the other's decoy."""
    settings = {"steps": 12, "samples": 4}
    bench = handmade(
        explainer={"name": "input_agnostic_saliency", "settings": settings},
        cases=[
            {"target_class": 3, "row": 20, "column": 21},
            {"target_class": 7, "row": 11, "column": 0, "victim": "fashion-mini-2"},
        ],
        pools=None,
        decoys=["fashion-mini-2", "fashion-mini-4"],
    )
    return samples(signature, signature_scoring.make_scorer(bench))


@pytest.mark.parametrize("track", ["visualization", "signature"])
@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: str(control.name))
def test_controls_land_where_they_must(control: Showing, track: str) -> None:
    found = {"visualization": units, "signature": classes}[track]()
    own, none = found[str(control.name)], found["none"]
    low, high = control.bounds.get("usefulness", (0.05, 0.9))
    assert low <= torch.tensor(own["usefulness"]).mean() <= high
    assert all(mine < best for mine, best in zip(own["told"], none["told"], strict=True))


@pytest.mark.parametrize("track", ["visualization", "signature"])
def test_what_is_undefended_tells_all_of_what_nobody_has_touched(track: str) -> None:
    none = {"visualization": units, "signature": classes}[track]()["none"]
    assert none["usefulness"] == none["truth"] == none["told"] == pytest.approx([1.0] * 2)


def test_one_picture_for_everything_tells_nothing_of_any_case() -> None:
    """Not only on average: whatever it does to a unit, it does as well where it is a decoy's picture."""
    assert max(units()["one_picture"]["usefulness"]) < 1e-3
    assert max(classes()["one_picture"]["usefulness"]) < 1e-3
