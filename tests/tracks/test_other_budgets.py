"""Track saliency under budgets of every kind: attacks keep to them, the harness measures them anew."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import ROOT
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.ensemble import Ensemble, EnsembleSmall
from baselines.attacks.ghorbani_topk import GhorbaniTopK
from baselines.attacks.square_search import SquareSearch
from baselines.controls.copy_target import CopyTarget
from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from baselines.controls.random_noise import RandomNoise
from benchmark.api import Attack, Case, Forgery
from benchmark.failures import StepFailed
from benchmark.methods.meter import Meter
from benchmark.tasks.task import load_task
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.scoring import make_scorer
from benchmark.tracks.saliency.task import BudgetSpec, SaliencyTask
from benchmark.tracks.saliency.workbench import Workbench, prepare
from benchmark.tracks.verdict import Columns

SPENT: dict[str, dict[str, Any]] = {
    "linf": {"linf": 16 / 255},
    "l2": {"l2": 1.5},
    "patch": {"patch": {"row": 9, "column": 9, "height": 10, "width": 10}},
    "flow": {"flow": 1.0},
}
KINDS = pytest.mark.parametrize("kind", SPENT)


@cache
def bench(kind: str) -> Workbench:
    """The smoke task under another budget, without detectors."""
    task = load_task("saliency/smoke-gradient", ROOT)
    assert isinstance(task, SaliencyTask)
    changes = {"budget": BudgetSpec(**SPENT[kind]), "defenses": ["hardening"]}
    return prepare(task.model_copy(update=changes), Path(ROOT), torch.device("cpu"))


def scored(kind: str, inputs: Tensor) -> Columns:
    """Samples of images, undefended."""
    made = {"inputs": inputs}
    natural = steps.reference(bench(kind), NoDefense(), 0, Meter())
    judged = steps.judge(bench(kind), NoDefense(), made, 0, Meter())
    return make_scorer(bench(kind)).score(made, natural, judged, 0)


def forged(kind: str, attack: Attack) -> Tensor:
    return steps.forge(bench(kind), attack, None, "oblivious", 0, Meter())["inputs"]


@KINDS
@pytest.mark.parametrize("attack", [Dombrowski(iterations=40), GhorbaniTopK(iterations=10), RandomNoise()])
def test_attacks_that_ask_the_budget_keep_to_every_kind(kind: str, attack: Attack) -> None:
    inputs = forged(kind, attack)
    assert not torch.equal(inputs, bench(kind).cases.inputs)
    found = scored(kind, inputs)
    assert set(found["violated"]) <= {"", "prediction"}, found["violated"]
    if isinstance(attack, Dombrowski):
        assert all(found["valid"]) and sum(found["manipulation"]) > 0.02 * len(inputs)


@KINDS
def test_controls_land_where_they_must(kind: str) -> None:
    copied = scored(kind, forged(kind, CopyTarget()))
    assert all(kind in names.split(",") for names in copied["violated"])
    assert max(copied["manipulation"]) == 0
    same = scored(kind, forged(kind, Identity()))
    assert all(same["valid"]) and max(same.get("spent", same["linf"])) == 0


@KINDS
def test_more_than_the_budget_is_refused_and_measured_again(kind: str) -> None:
    class Over(Attack):
        name = "over"
        paper = "test"

        def forge(self, case: Case) -> Forgery:
            return Forgery((case.inputs + 0.3).clamp(0, 1))

    with pytest.raises(StepFailed, match=r"4 of 4 forged inputs exceed the .* by .* too much"):
        forged(kind, Over())
    told = scored(kind, (bench(kind).cases.inputs + 0.3).clamp(0, 1))  # as if a forge step had let it pass
    assert all(kind in names.split(",") for names in told["violated"])
    assert not any(told["valid"]) and max(told["manipulation"]) == 0


def test_an_attack_for_one_kind_of_budget_says_so() -> None:
    for attack in (SquareSearch(), Ensemble(), EnsembleSmall()):
        assert attack.skip(bench("linf").facts) is None
        reason = "its squares go to the ends of an L-inf budget, not of l2"
        assert attack.skip(bench("l2").facts) == reason
