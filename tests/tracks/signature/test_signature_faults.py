"""Faults of attacks and defenses on track signature, and whom they are blamed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from signature_case import (
    BIAS,
    SIZE,
    By,
    Hardens,
    Suspects,
    Tensors,
    forged_by,
    made,
    pools,
    unchanged,
    zeros,
)
from torch import Tensor

from baselines.attacks.badnets import BadNets
from baselines.attacks.blended import Blended
from baselines.attacks.sig import Sig
from baselines.attacks.wanet import WaNet
from benchmark.api import (
    Attack,
    BackdoorAudit,
    BackdoorCase,
    ClassExplainer,
    Forgery,
    InputAgnosticSaliency,
    Network,
    Trigger,
)
from benchmark.failures import StepFailed
from benchmark.methods.meter import Meter
from benchmark.tracks.signature.steps import judge, reference
from benchmark.tracks.signature.workbench import Workbench


class Changed(ClassExplainer):
    """Another explainer's maps, changed by a function."""

    name = "changed"

    def __init__(self, inner: InputAgnosticSaliency, change: Callable[[Tensor], Any]) -> None:
        self.inner, self.change = inner, change

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        """Changed."""
        found: Tensor = self.change(self.inner.explain(model, classes, seed))
        return found

    def procedures(self) -> tuple[InputAgnosticSaliency, ...]:
        """Changed likewise."""
        found: tuple[InputAgnosticSaliency, ...] = self.change(self.inner.procedures())
        return found


def failure(step: Callable[[], object]) -> StepFailed:
    """What a step raises."""
    with pytest.raises(StepFailed) as raised:
        step()
    return raised.value


# Faults of attacks.


def patch(**changes: Any) -> Trigger:
    """A trigger that is right, some tensors changed."""
    tensors = {"opacity": torch.ones(SIZE), "picture": torch.ones(SIZE), **changes}
    return Trigger(**tensors)


def with_weights(change: Callable[[Tensors], object]) -> Callable[[BackdoorCase, Tensors], Forgery]:
    """A forgery of changed weights."""

    def function(_: BackdoorCase, weights: Tensors) -> Forgery:
        change(weights)
        return Forgery(weights=weights, trigger=patch())

    return function


def with_trigger(trigger: Any) -> Callable[[BackdoorCase, Tensors], Forgery]:
    """A forgery with a trigger."""
    return lambda given, weights: Forgery(weights=weights, trigger=trigger)


USELESS = "the trigger cannot be used: its "
WRONG_FORGERIES: dict[str, tuple[Callable[[BackdoorCase, Tensors], Any], str]] = {
    "more-layers": (
        with_weights(lambda w: w.update({"classifier.4.weight": torch.zeros(3, 3)})),
        "changed the architecture: classifier.4.weight is new",
    ),
    "fewer-layers": (
        with_weights(lambda w: w.pop(BIAS)),
        "changed the architecture: classifier.2.bias is missing",
    ),
    "another-shape": (
        with_weights(lambda w: w.update({BIAS: torch.zeros(11)})),
        "weights classifier.2.bias have shape [11] instead of [10]",
    ),
    "nan-weights": (
        with_weights(lambda w: w[BIAS].fill_(float("nan"))),
        "weights classifier.2.bias hold 10 values that are NaN or infinite",
    ),
    "infinite-in-single": (
        with_weights(lambda w: w.update({BIAS: torch.full((10,), 1e300, dtype=torch.float64)})),
        "weights classifier.2.bias hold 10 values that are NaN or infinite",
    ),
    "integers": (
        with_weights(lambda w: w.update({BIAS: w[BIAS].long()})),
        "weights classifier.2.bias have type torch.int64 instead of torch.float32",
    ),
    "no-weights": (
        lambda given, weights: Forgery(trigger=patch()),
        "forge() must return Forgery(weights=...), not Forgery(weights=NoneType)",
    ),
    "nothing": (lambda given, weights: None, "forge() must return Forgery(weights=...), not NoneType"),
    "weights-alone": (lambda given, weights: weights, "forge() must return Forgery(weights=...), not dict"),
    "no-trigger": (
        with_trigger({"addition": torch.zeros(SIZE)}),
        "the trigger must be a Trigger, not dict",
    ),
    "empty-trigger": (with_trigger(Trigger()), "the trigger cannot be used: it does nothing"),
    "trigger-of-a-batch": (
        with_trigger(patch(opacity=torch.ones(1, *SIZE))),
        USELESS + "opacity has shape [1, 1, 28, 28] instead of [1, 28, 28]",
    ),
    "large-trigger": (
        with_trigger(patch(picture=torch.ones(1, 32, 32))),
        USELESS + "picture has shape [1, 32, 32] instead of [1, 28, 28]",
    ),
    "bright-trigger": (with_trigger(patch(picture=torch.full(SIZE, 1.5))), USELESS + "picture leaves [0, 1]"),
    "negative-trigger": (
        with_trigger(patch(opacity=torch.full(SIZE, -0.1))),
        USELESS + "opacity leaves [0, 1]",
    ),
    "list-trigger": (with_trigger(patch(addition=[0.0])), USELESS + "addition must be a tensor, not list"),
    "nan-trigger": (
        with_trigger(Trigger(addition=torch.full(SIZE, float("nan")))),
        USELESS + "addition holds values that are NaN or infinite",
    ),
    "infinite-trigger-in-single": (
        with_trigger(Trigger(addition=torch.full(SIZE, 1e300, dtype=torch.float64))),
        USELESS + "addition holds values that are NaN or infinite",
    ),
    "half-a-trigger": (with_trigger(Trigger(picture=torch.ones(SIZE))), USELESS + "opacity and its picture"),
}


@pytest.mark.parametrize("name", WRONG_FORGERIES)
def test_a_forgery_that_cannot_be_used_is_blamed_on_the_attack(name: str, bench: Workbench) -> None:
    function, reason = WRONG_FORGERIES[name]
    found = failure(lambda: forged_by(bench, By(function)))
    assert (found.status, found.blame, found.culprit) == ("invalid", "method", "by")
    assert found.reason.startswith(f"by: {reason}") and "\n" not in found.reason


def test_a_fault_of_one_case_is_a_fault() -> None:
    def second(given: BackdoorCase, weights: Tensors) -> Forgery:
        if given.target_class != 3:
            raise LookupError("threes only")
        return Forgery(weights=weights)

    found = failure(lambda: forged_by(made(pools=None), By(second)))
    assert (found.status, found.blame) == ("crashed", "method")
    assert found.reason == "by: LookupError: threes only"


@pytest.mark.parametrize("extent", [29, 6, 0])
def test_a_patch_larger_than_its_place_is_blamed_on_the_attack(extent: int, bench: Workbench) -> None:
    found = failure(lambda: forged_by(bench, BadNets(extent=extent)))
    assert (found.status, found.blame) == ("crashed", "method")
    assert found.culprit == f"badnets[extent={extent}]"
    words = f"a patch of {extent}x{extent} pixels at row 23, column 22 does not lie within an image of 28x28"
    assert words in found.reason


@pytest.mark.parametrize("attack", [BadNets, Blended, Sig, WaNet])
@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_a_poison_rate_that_cannot_be_is_blamed_on_the_attack(
    attack: type[Attack], rate: float, bench: Workbench
) -> None:
    found = failure(lambda: forged_by(bench, attack(poison_rate=rate)))
    assert (found.status, found.blame) == ("crashed", "method")
    assert found.culprit.startswith(f"{attack.name}[") and str(rate) in found.reason
    assert "poison_rate must lie between 0 and 1" in found.reason


@pytest.mark.parametrize("attack", [BadNets, Blended, Sig, WaNet])
def test_published_attacks_claim_a_trigger_and_change_the_weights(
    attack: type[Attack], bench: Workbench
) -> None:
    """Two steps of training: what the harness takes of it, and that it is deterministic."""
    forgery, again = (forged_by(bench, attack(steps=2, batch=16)) for _ in range(2))
    assert all(torch.equal(forgery[key], again[key]) for key in forgery)
    for index, own in enumerate(bench.task.cases):
        model, trigger = bench.forged(index, forgery)
        clean = bench.clean(own).module.state_dict()
        changed = [key for key, value in model.module.state_dict().items() if not value.equal(clean[key])]
        assert set(changed) == set(clean) and trigger is not None
        images = bench.splits.attacker.images[:4]
        assert not torch.equal(trigger.apply(images), images)


# Faults of defenses.


def raising(words: str) -> Callable[..., Any]:
    """A function that raises."""

    def function(*_: object) -> Any:
        raise RuntimeError(words)

    return function


WRONG_DETECTORS: dict[str, tuple[Callable[[BackdoorAudit], Any], str, str]] = {
    "raises": (raising("no idea"), "crashed", "RuntimeError: no idea"),
    "one": (lambda audit: torch.zeros(()), "invalid", "suspicions have shape [] instead of [10]"),
    "too-few": (lambda audit: torch.zeros(9), "invalid", "suspicions have shape [9] instead of [10]"),
    "column": (lambda audit: torch.zeros(10, 1), "invalid", "suspicions have shape [10, 1] instead of [10]"),
    "list": (lambda audit: [0.0] * 10, "invalid", "suspicions must be a tensor, not list"),
    "nothing": (lambda audit: None, "invalid", "suspicions must be a tensor, not NoneType"),
    "nan": (lambda a: torch.full((10,), float("nan")), "invalid", "suspicions hold 10 values that are NaN"),
    "infinite": (lambda audit: torch.ones(10) / 0, "invalid", "suspicions hold 10 values that are NaN or"),
}


@pytest.mark.parametrize("name", WRONG_DETECTORS)
def test_a_detectors_fault_is_blamed_on_it(name: str, bench: Workbench) -> None:
    function, status, reason = WRONG_DETECTORS[name]
    forgery = forged_by(bench, By(unchanged))
    for step in (
        lambda: reference(bench, Suspects(function), 0, Meter()),
        lambda: judge(bench, Suspects(function), forgery, 0, Meter()),
    ):
        found = failure(step)
        assert (found.status, found.blame, found.culprit) == (status, "method", "suspects")
        assert found.reason.startswith(f"suspects: {reason}")


WRONG_HARDENINGS: dict[str, tuple[Callable[[InputAgnosticSaliency], Any], str, str]] = {
    "nothing": (lambda given: None, "invalid", "harden() must return a ClassExplainer, not NoneType"),
    "class": (lambda given: Changed, "invalid", "harden() must return a ClassExplainer, not ABCMeta"),
    "raises": (raising("too hard"), "crashed", "RuntimeError: too hard"),
    "bad-setting": (lambda given: replace(given, steps=0), "crashed", "ValueError: samples, steps"),
    "narrow": (
        lambda given: Changed(given, lambda maps: maps[..., 1:]),
        "invalid",
        "maps have shape [10, 1, 28, 27] instead of [10, 1, 28, 28]",
    ),
    "nan": (
        lambda given: Changed(given, lambda maps: maps * float("nan")),
        "invalid",
        "maps hold 7840 values that are NaN or infinite",
    ),
    "numpy": (
        lambda given: Changed(given, lambda maps: maps.numpy()),
        "invalid",
        "maps must be a tensor, not ndarray",
    ),
    "explain-raises": (
        lambda given: Changed(given, raising("no map today")),
        "crashed",
        "RuntimeError: no map today",
    ),
}


@pytest.mark.parametrize("name", WRONG_HARDENINGS)
def test_a_hardenings_fault_is_blamed_on_it_also_when_an_attack_asks(name: str, bench: Workbench) -> None:
    function, status, reason = WRONG_HARDENINGS[name]
    forgery = forged_by(bench, By(unchanged))

    def asks(given: BackdoorCase, weights: Tensors) -> Forgery:
        given.explainer.explain(given.model, range(10), 0)
        return Forgery(weights=weights)

    for step in (
        lambda: reference(bench, Hardens(function), 0, Meter()),
        lambda: judge(bench, Hardens(function), forgery, 0, Meter()),
        lambda: forged_by(bench, By(asks), Hardens(function), "adaptive"),
    ):
        found = failure(step)
        assert (found.status, found.blame, found.culprit) == (status, "method", "hardens")
        assert found.reason.startswith(f"hardens: {reason}")


def test_procedures_that_raise_are_the_hardenings_fault(bench: Workbench) -> None:
    def asks(given: BackdoorCase, weights: Tensors) -> Forgery:
        given.explainer.procedures()
        return Forgery(weights=weights)

    hardening = Hardens(lambda given: Changed(given, raising("not told")))
    found = failure(lambda: forged_by(bench, By(asks), hardening, "adaptive"))
    assert (found.status, found.culprit) == ("crashed", "hardens") and "not told" in found.reason


def test_a_task_without_pools_skips_detectors() -> None:
    bench = made(pools=None)
    forgery = forged_by(bench, By(unchanged))
    for step in (
        lambda: reference(bench, Suspects(zeros), 0, Meter()),
        lambda: judge(bench, Suspects(zeros), forgery, 0, Meter()),
    ):
        assert failure(step).status == "skipped"


def test_a_change_in_place_shows(bench: Workbench) -> None:
    """The checksum covers all weights, images and labels, and how networks are set."""
    before = bench.checksum()
    splits = bench.splits
    for tensor in (
        splits.attacker.images,
        splits.attacker.labels,
        splits.auditor.images,
        splits.auditor.labels,
        splits.evaluation.images,
        bench.models["fashion-mini-2"].module.state_dict()[BIAS],
        bench.models["fashion-mini-7"].mean,
    ):
        kept = tensor.clone()
        tensor.view(-1)[-1] += 1
        assert bench.checksum() != before
        tensor.copy_(kept)
        assert bench.checksum() == before
    model = bench.models["fashion-mini-1"]
    model.module.requires_grad_(True)
    assert bench.checksum() != before
    model.module.requires_grad_(False)
    model.module.train()
    assert bench.checksum() != before
    model.module.eval()
    assert bench.checksum() == before


def change_weights(model: Network) -> None:
    """In place."""
    model.module.state_dict()[BIAS].add_(0.5)


class Spoiling(Changed):
    """Changes the network that it explains."""

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        """In place."""
        change_weights(model)
        return super().explain(model, classes, seed)


def spoiled(what: str, then: Callable[..., Any]) -> Callable[..., Any]:
    """A function that changes in place some of what it is handed."""

    def function(handed: Any, *more: Any) -> Any:
        if what == "network":
            change_weights(handed.model)
        else:
            (handed.data if what == "images" else handed.labels)[:3].fill_(0)
        return then(handed, *more)

    return function


@pytest.mark.parametrize(
    "step",
    [
        *(
            partial(forged_by, attack=By(spoiled(what, unchanged)))
            for what in ("network", "images", "labels")
        ),
        *(
            partial(reference, defense=Suspects(spoiled(what, zeros)), seed=0, meter=Meter())
            for what in ("network", "images", "labels")
        ),
        partial(
            reference,
            defense=Hardens(lambda given: Spoiling(given, lambda maps: maps)),
            seed=0,
            meter=Meter(),
        ),
    ],
)
def test_methods_that_change_what_they_are_handed_are_caught(step: Callable[[Workbench], object]) -> None:
    bench = made(**pools(["fashion-mini-3"], ["fashion-mini-4"]))
    before = bench.checksum()
    step(bench)
    assert bench.checksum() != before
