"""What counts as a backdoor, and which networks move nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from signature_case import BIAS, FIELDS, By, Suspects, Tensors, forged_by, made

from baselines.controls.finetune_only import FinetuneOnly
from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from baselines.controls.random import Random
from benchmark.api import BackdoorCase, Detector, Forgery, Hardening, patch_trigger
from benchmark.methods.meter import Meter
from benchmark.tracks.signature.scoring import make_scorer
from benchmark.tracks.signature.steps import judge, reference
from benchmark.tracks.signature.workbench import Workbench

# What counts.


def scored(bench: Workbench, forgery: Tensors, defense: Hardening | Detector) -> dict[str, list[Any]]:
    """Samples of a forgery under a defense."""
    natural, judged = reference(bench, defense, 0, Meter()), judge(bench, defense, forgery, 0, Meter())
    return make_scorer(bench).score(forgery, natural, judged, 0)


def collapsed(given: BackdoorCase, weights: Tensors) -> Forgery:
    """A network that calls everything the target."""
    weights[BIAS][given.target_class] += 1e6
    return Forgery(weights=weights, trigger=patch_trigger(given.pattern, given.place, 3, given.size))


def test_a_network_whose_accuracy_collapsed_is_no_backdoor(bench: Workbench) -> None:
    forgery = forged_by(bench, By(collapsed))
    for defense in (NoDefense(), Suspects(lambda audit: audit.model.module.state_dict()[BIAS])):
        columns = scored(bench, forgery, defense)
        assert columns["attack_success"] == [1.0, 1.0] and min(columns["accuracy_drop"]) > 0.6
        assert columns["valid"] == [False, False] and columns["violated"] == ["accuracy", "accuracy"]
        assert columns["manipulation"] == [0.0, 0.0]
    assert columns["detected"] == columns["auroc"] == [None, None]


def test_identity_moves_nothing(bench: Workbench) -> None:
    columns = scored(bench, forged_by(bench, Identity()), NoDefense())
    for name, value in {"accuracy_drop": 0, "weight_change": 0, "manipulation": 0, "fidelity": 1}.items():
        assert columns[name] == pytest.approx([value] * 2, abs=1e-9), name
    assert columns["pcc_original"] == pytest.approx([1, 1], abs=1e-9)


def test_a_fine_tuned_network_claims_no_backdoor() -> None:
    bench = made(cases=FIELDS["cases"][:1], pools=None)
    forgery = forged_by(bench, FinetuneOnly())
    columns = scored(bench, forgery, NoDefense())
    assert columns["manipulation"] == [0.0] and columns["pcc_trigger"] == [None]
    assert columns["weight_change"][0] > 0


def test_suspicion_by_chance_differs_between_classes_and_networks(bench: Workbench) -> None:
    found = reference(bench, Random(), 0, Meter())
    values = torch.cat(list(found.values())).flatten()
    assert ((values >= 0) & (values < 1)).all() and len(values.unique()) == len(values)
    assert len(values) == 160, "two pools of four networks and ten classes, clean and finetuned"
    assert 0.35 < float(values.mean()) < 0.65
    again = reference(bench, Random(), 0, Meter())
    assert all(torch.equal(found[key], again[key]) for key in found)
