"""Steps and scores of repairs: what is checked, who is blamed, what adapts, and what nothing is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import fairwashing_case
import pytest
import signature_case
import torch
import visualization_case
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from baselines.controls.none import NoDefense
from baselines.controls.repairs import ConstantNetwork, NewHead, Unrepaired
from benchmark.api import Attack, FairwashingCase, Forgery, Outlasting, Rehearsal, Repair, RepairCase
from benchmark.failures import StepFailed
from benchmark.methods.formats import as_stored
from benchmark.methods.meter import Meter
from benchmark.tracks import repairs, repairs_of, scoring_of, steps_of
from benchmark.tracks.mended import ALL, verdict, worth

Tensors = dict[str, Tensor]


class By(Repair):
    """Repairs by a function of the case and the weights that were handed in."""

    name = "by"
    paper = "made for a test"

    def __init__(self, function: Callable[[RepairCase, Tensors], Any]) -> None:
        super().__init__()
        self.by = function
        self.seen: list[RepairCase] = []

    def repair(self, case: RepairCase) -> Mapping[str, Tensor]:
        """Whatever the function returns."""
        self.seen.append(case)
        found: Mapping[str, Tensor] = self.by(case, dict(case.model.module.state_dict()))
        return found


def scaled(factor: float) -> Callable[[Any, Tensors], Tensors]:
    """All weights times a factor."""
    return lambda case, weights: {name: factor * value for name, value in weights.items()}


def moved(case: FairwashingCase, weights: Tensors) -> Forgery:
    """A forgery that is another network."""
    return Forgery(weights=scaled(1.01)(case, weights))


@pytest.fixture(scope="module")
def bench() -> Any:
    """Two cases of track fairwashing."""
    return fairwashing_case.made()


def score(bench: Any, forgery: Tensors, repair: Repair) -> dict[str, list[Any]]:
    """Samples of a cell."""
    found = [repairs.reference(bench, repair, 0, Meter()), repairs.judge(bench, repair, forgery, 0, Meter())]
    made: dict[str, list[Any]] = repairs_of(bench.task.track).make_scorer(bench).score(forgery, *found, 0)
    return made


# What is handed over, and what comes back.


def test_a_repair_has_the_defenders_images_and_a_seed_of_the_weights_alone(bench: Any) -> None:
    repair = By(scaled(1.0))
    repairs.judge(bench, repair, fairwashing_case.forged(bench, moved), 0, Meter())
    repairs.reference(bench, repair, 0, Meter())
    assert len(repair.seen) == 4 and len({case.seed for case in repair.seen}) == 4
    for case in repair.seen:
        assert torch.equal(case.data, bench.splits.auditor.images)
        assert not hasattr(case, "trigger") and case.classes == 10


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda case, weights: None, "must return weights by name, not NoneType"),
        (lambda case, weights: {**weights, "more": torch.zeros(1)}, "changed the architecture: more is new"),
        (lambda case, weights: {name: value / 0 for name, value in weights.items()}, "NaN or infinite"),
        (lambda case, weights: {name: value[None] for name, value in weights.items()}, "have shape"),
    ],
)
def test_weights_that_are_none_are_the_repairs_fault(
    function: Callable[..., Any], reason: str, bench: Any
) -> None:
    with pytest.raises(StepFailed, match=reason) as failure:
        repairs.reference(bench, By(function), 0, Meter())
    assert (failure.value.status, failure.value.culprit) == ("invalid", "by")


def test_the_clean_network_is_no_repair_of_a_forged_one(bench: Any) -> None:
    clean = [bench.models[case.victim].module.state_dict() for case in bench.cases]
    repair = By(
        lambda case, weights: next(
            c for c in clean if c.keys() == weights.keys() and all(c[n].shape == weights[n].shape for n in c)
        )
    )
    forgery = fairwashing_case.forged(bench, moved)
    with pytest.raises(StepFailed, match="gave back the clean network"):
        repairs.judge(bench, repair, forgery, 0, Meter())
    repairs.reference(bench, repair, 0, Meter())  # of a clean one it is the repair that does nothing


# Attacks that adapt.


class Twice(Attack):
    """Keeps what it is handed, and scales the weights."""

    name = "twice"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.cases: list[FairwashingCase] = []

    def forge(self, case: FairwashingCase) -> Forgery:
        """Scaled weights."""
        self.cases.append(case)
        return Forgery(weights=scaled(self.factor)(case, dict(case.model.module.state_dict())))


def test_an_attack_forges_again_from_what_the_repair_makes_of_its_forgery() -> None:
    bench, attack = fairwashing_case.made(cases=[{"picture": "ring-28"}]), Twice(1.5)
    repair = By(scaled(0.75))
    forged = repairs.forge(bench, attack, repair, 0, Meter())
    first, second = attack.cases
    own, start = (case.model.module.state_dict() for case in (first, second))
    name = "features.0.weight"
    assert torch.allclose(start[name], 1.5 * 0.75 * own[name], rtol=1e-3)
    assert torch.allclose(forged[f"0/weights/{name}"], 1.5 * 0.75 * 1.5 * own[name], rtol=3e-3)
    assert torch.equal(repair.seen[0].data, bench.splits.attacker.images), "the defender's are not known"


def test_a_second_forgery_over_the_budget_does_not_count() -> None:
    bench = fairwashing_case.made(
        cases=[{"picture": "ring-28"}], budget={"accuracy_drop": 0.001, "agreement": 0.999}
    )
    forged = repairs.forge(bench, Twice(1.0), By(lambda case, w: {n: -v for n, v in w.items()}), 0, Meter())
    own = bench.models["fashion-tiny"].module.state_dict()
    assert all(torch.equal(forged[f"0/weights/{name}"], value) for name, value in own.items())


class Outlasts(Outlasting):
    """Asks the repair itself."""

    name = "outlasts"
    paper = "made for a test"
    tracks = ("fairwashing",)

    def forge(self, case: FairwashingCase) -> Forgery:
        """Never asked here."""
        raise AssertionError

    def outlast(self, case: FairwashingCase, rehearsal: Rehearsal) -> Forgery:
        """What the repair makes of the clean network."""
        own = dict(case.model.module.state_dict())
        return Forgery(weights=dict(rehearsal.repaired(own).module.state_dict()))


def test_an_attack_may_adapt_by_itself() -> None:
    bench = fairwashing_case.made(cases=[{"picture": "ring-28"}])
    forged = repairs.forge(bench, Outlasts(), By(scaled(0.5)), 0, Meter())
    own = bench.models["fashion-tiny"].module.state_dict()
    assert torch.allclose(forged["0/weights/features.0.weight"], 0.5 * own["features.0.weight"], rtol=1e-3)


@pytest.mark.parametrize("attack", [Twice(1.1), Outlasts()])
def test_what_a_repair_does_wrong_under_attack_is_its_own_fault(attack: Attack) -> None:
    bench = fairwashing_case.made(cases=[{"picture": "ring-28"}])
    with pytest.raises(StepFailed, match="no weights here") as failure:
        repairs.forge(bench, attack, By(_raises), 0, Meter())
    assert (failure.value.status, failure.value.culprit) == ("crashed", "by")


def _raises(case: RepairCase, weights: Tensors) -> Tensors:
    raise ValueError("no weights here")


# What a repair is worth.


def test_accuracy_is_paid_for_in_a_straight_line() -> None:
    assert [worth(cost) for cost in (-0.5, 0.0, ALL / 2, ALL, 1.0)] == pytest.approx([1, 1, 0.5, 0, 0])


_SHARE = st.floats(-1, 1)
_COST = st.floats(-0.2, 1)


@given(_SHARE, _SHARE, st.booleans(), _COST, _COST, st.floats(0, 0.5))
def test_nothing_but_telling_at_no_cost_is_worth_anything(
    usefulness: float, truth: float, valid: bool, clean: float, forged: float, more: float
) -> None:
    def told(*costs: float) -> float:
        return float(verdict([usefulness], [truth], [valid], ([costs[0]], [costs[1]]))["told"][0])

    assert 0 <= told(clean, forged) <= 1
    assert told(clean + more, forged + more) <= told(clean, forged) + 1e-12
    assert told(ALL, ALL) == 0
    if not valid:
        assert told(0.0, forged) == pytest.approx(max(0.0, usefulness)), "it has taken nothing away"


def _fairwashing() -> tuple[Any, Tensors]:
    bench = fairwashing_case.made(decoys=["fashion-mini-2"])
    return bench, fairwashing_case.forged(bench, moved)


def _visualization() -> tuple[Any, Tensors]:
    bench = visualization_case.made(cases=[{"unit": 4, "target": "ring-28"}])
    own = bench.models["fashion-tiny"].module.state_dict()
    changed = as_stored({name: 1.01 * value for name, value in own.items()}, own)
    return bench, {f"0/{name}": value for name, value in changed.items()}


def _signature() -> tuple[Any, Tensors]:
    bench = signature_case.made(**signature_case.case())
    return bench, signature_case.forged_by(bench, signature_case.By(signature_case.unchanged))


MADE = {"fairwashing": _fairwashing, "visualization": _visualization, "signature": _signature}


@pytest.mark.parametrize("track", MADE)
def test_doing_nothing_costs_nothing_and_breaking_everything_is_worth_nothing(track: str) -> None:
    bench, forgery = MADE[track]()
    same, broken = score(bench, forgery, Unrepaired()), score(bench, forgery, ConstantNetwork())
    for name in ("repair_cost", "repair_cost_clean", "repair_change"):
        assert same[name] == pytest.approx([0.0] * len(same[name]))
    assert sum(same["told"]) > 0 and max(broken["told"]) == 0
    assert min(broken["repair_cost_clean"]) > 0.5
    assert max(score(bench, forgery, NewHead())["told"]) < max(same["told"])
    steps, none = steps_of(track), NoDefense()
    natural, judged = steps.reference(bench, none, 0, Meter()), steps.judge(bench, none, forgery, 0, Meter())
    undefended = scoring_of(track).make_scorer(bench).score(forgery, natural, judged, 0)
    for name in ("valid", "violated"):
        assert same[name] == undefended[name]
    for name in ("manipulation", "usefulness"):
        assert same[name] == pytest.approx(undefended[name], abs=1e-6)
