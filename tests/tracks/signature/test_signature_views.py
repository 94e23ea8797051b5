"""Who sees what on track signature, and what a forgery depends on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from harness import reachable
from signature_case import CPU, SIZE, By, Hardens, Suspects, Tensors, forged_by, root, unchanged, zeros
from torch import Tensor

from baselines.controls.none import NoDefense
from benchmark.api import BackdoorAudit, BackdoorCase, Forgery, Trigger
from benchmark.methods.meter import Meter
from benchmark.tasks.data import load_data
from benchmark.tracks.evaded import Evaded
from benchmark.tracks.signature.steps import forge, judge, reference
from benchmark.tracks.signature.workbench import Workbench

# Who sees what.


def watching(seen: list[Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """A function that keeps what it is handed."""

    def function(handed: Any, *more: Any) -> Any:
        seen.append(handed)
        return then(handed, *more)

    return function


def assert_hidden(handed: object, bench: Workbench, tensors: Sequence[Tensor]) -> None:
    """Neither the seed of the maps nor any of the tensors, or memory that they share, can be got at."""
    found = list(reachable(handed))
    assert len(found) > 50
    seeds = {bench.map_seed_of(model) for model in bench.networks()}
    assert not seeds & {thing for thing in found if isinstance(thing, int)}
    places = {tensor.untyped_storage().data_ptr() for tensor in tensors}
    for thing in found:
        if isinstance(thing, Tensor) and thing.numel() > 1:
            assert thing.untyped_storage().data_ptr() not in places
            for hidden in tensors:
                if thing.shape == hidden.shape:
                    assert not torch.equal(thing, hidden.to(thing))
                if thing.ndim == hidden.ndim == 4 and thing.shape[1:] == hidden.shape[1:] == SIZE:
                    own = {one.numpy().tobytes() for one in thing.detach().float()}
                    assert not own & {one.numpy().tobytes() for one in hidden}


def evaluated(bench: Workbench) -> list[Tensor]:
    """Images that nobody is handed, and the whole split that they are from."""
    return [bench.splits.evaluation.images, bench.splits.evaluation.labels]


def test_attackers_are_led_neither_to_seeds_nor_to_the_images_of_others(bench: Workbench) -> None:
    seen: list[BackdoorCase] = []
    detector = Suspects(zeros)
    forged_by(bench, By(watching(seen, unchanged)), detector, "adaptive")
    for given, own in zip(seen, bench.task.cases, strict=True):
        assert_hidden(given, bench, [*evaluated(bench), bench.splits.auditor.images])
        assert torch.equal(given.data, bench.splits.attacker.images)
        assert torch.equal(given.labels, bench.splits.attacker.labels)
        assert isinstance(given.detector, Evaded) and given.detector.detector is detector
        assert given.explainer == bench.explainer
        assert (given.target_class, given.place, given.pattern) == (
            own.target_class,
            (own.row, own.column),
            own.pattern,
        )
        assert given.size == SIZE and given.device == CPU
        assert given.budget.accuracy_drop == 0.5 and given.budget.trigger_change == 30
    assert seen[0].generator.initial_seed() != seen[1].generator.initial_seed()


def test_auditors_are_led_neither_to_clean_networks_nor_to_triggers_or_the_images_of_others(
    bench: Workbench,
) -> None:
    seen: list[BackdoorAudit] = []
    picture = torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    trigger = Trigger(opacity=torch.full(SIZE, 0.3), picture=picture)

    def moved(_: BackdoorCase, weights: Tensors) -> Forgery:
        return Forgery(weights={k: v + 0.01 for k, v in weights.items()}, trigger=trigger)

    forgery = forged_by(bench, By(moved))
    judge(bench, Suspects(watching(seen, zeros)), forgery, 0, Meter())
    assert len(seen) == 2
    for index, (audit, own) in enumerate(zip(seen, bench.task.cases, strict=True)):
        state, clean = audit.model.module.state_dict(), bench.clean(own).module.state_dict()
        assert all(torch.equal(state[key], forgery[f"{index}/weights/{key}"]) for key in state)
        hidden = [*clean.values(), picture, *evaluated(bench), bench.splits.attacker.images]
        assert_hidden(audit, bench, hidden)
        assert torch.equal(audit.data, bench.splits.auditor.images)
        assert torch.equal(audit.labels, bench.splits.auditor.labels)
        assert audit.classes == tuple(range(10)) and audit.samples == 10 and audit.size == SIZE
    split = load_data("fashion-mnist", root()).split("evaluation").images
    assert torch.equal(torch.cat([seen[0].data, bench.splits.evaluation.images]), split)


def test_audits_of_clean_and_forged_networks_look_alike(bench: Workbench) -> None:
    """Pools in their order, each network by itself, with a seed of its own."""
    seen: list[BackdoorAudit] = []
    detector = Suspects(watching(seen, zeros))
    found = reference(bench, detector, 0, Meter())
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "calibration_clean": (2, 10),
        "calibration_finetuned": (2, 10),
        "negative_clean": (6, 10),
        "negative_finetuned": (6, 10),
    }
    judge(bench, detector, forged_by(bench, By(unchanged)), 0, Meter())
    clean = [*seen[0:2], *seen[4:10]]  # each pool's clean networks, then the same ones finetuned
    for number, audit in zip(range(3, 11), clean, strict=True):
        expected = bench.models[f"fashion-mini-{number}"].module.state_dict()
        state = audit.model.module.state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in state)
    assert len(seen) == len({audit.seed for audit in seen}) == 2 * 8 + 2
    judge(bench, detector, forged_by(bench, By(unchanged)), 1, Meter())
    assert seen[-1].seed != seen[0].seed


def test_an_audits_maps_are_the_explainers_from_its_own_seed(bench: Workbench) -> None:
    seen: list[BackdoorAudit] = []
    reference(bench, Suspects(watching(seen, zeros)), 0, Meter())
    audit = seen[0]
    plain = bench.models["fashion-mini-3"]
    assert torch.equal(audit.maps(), bench.explainer.explain(plain, range(10), audit.seed))
    other = replace(bench.explainer, steps=1, spread=0.0).explain(plain, range(10), audit.seed)
    assert torch.equal(audit.maps(steps=1, spread=0.0), other)


@pytest.mark.parametrize("mode", ["oblivious", "adaptive"])
def test_an_attack_is_handed_what_the_mode_says(bench: Workbench, mode: Any) -> None:
    seen: list[BackdoorCase] = []
    longer = Hardens(lambda given: replace(given, steps=5))
    forged_by(bench, By(watching(seen, unchanged)), longer, mode)
    hardened = replace(bench.explainer, steps=5)
    expected = hardened if mode == "adaptive" else bench.explainer
    for given in seen:
        assert given.explainer.procedures() == (expected,) and given.detector is None
        assert given.explainer.name == "input_agnostic_saliency"
        maps = given.explainer.explain(given.model, [2, 0], 4)
        assert torch.equal(maps, expected.explain(given.model, [2, 0], 4))
    seen.clear()
    detector = Suspects(zeros)
    forged_by(bench, By(watching(seen, unchanged)), detector, mode)
    handed = [getattr(given.detector, "detector", None) for given in seen]
    assert handed == [detector if mode == "adaptive" else None] * 2
    assert all(given.explainer == bench.explainer for given in seen)


def test_a_forgery_depends_on_seed_case_and_variant_alone(bench: Workbench) -> None:
    def noisy(given: BackdoorCase, weights: Tensors) -> Forgery:
        noise = torch.randn(10, generator=given.generator)
        addition = torch.rand(SIZE, generator=given.generator)
        name = "classifier.2.bias"
        return Forgery(weights={**weights, name: weights[name] + noise}, trigger=Trigger(addition=addition))

    torch.manual_seed(1)
    first = forged_by(bench, By(noisy))
    torch.manual_seed(2)
    again = forged_by(bench, By(noisy), NoDefense(), "adaptive")
    assert first.keys() == again.keys() and all(torch.equal(first[key], again[key]) for key in first)
    other = forge(bench, By(noisy), None, "oblivious", 1, Meter())
    for key in ("0/weights/classifier.2.bias", "0/trigger/addition"):
        assert not torch.equal(first[key], other[key])
    assert not torch.equal(first["0/trigger/addition"], first["1/trigger/addition"])


def test_a_forgery_is_stored_in_the_networks_own_type_and_comes_back_whole(bench: Workbench) -> None:
    def double(_: BackdoorCase, weights: Tensors) -> Forgery:
        opacity = torch.full(SIZE, 0.5, dtype=torch.float64).requires_grad_()
        picture = torch.ones(28, 1, 28).transpose(0, 1)
        changed = {key: (value.double() + 1).requires_grad_() for key, value in weights.items()}
        return Forgery(weights=changed, trigger=Trigger(opacity=opacity, picture=picture))

    forgery = forged_by(bench, By(double))
    for index, own in enumerate(bench.task.cases):
        model, trigger = bench.forged(index, forgery)
        for key, value in bench.clean(own).module.state_dict().items():
            stored = forgery[f"{index}/weights/{key}"]
            assert stored.dtype == value.dtype and not stored.requires_grad
            torch.testing.assert_close(
                model.module.state_dict()[key], (value + 1).half().float(), rtol=0, atol=0
            )
        assert not any(weight.requires_grad for weight in model.parameters())
        assert trigger is not None and set(trigger.tensors()) == {"opacity", "picture"}
        assert all(v.dtype == torch.float32 and v.is_contiguous() for v in trigger.tensors().values())
    nothing = forged_by(bench, By(lambda given, weights: Forgery(weights=weights)))
    assert bench.forged(1, nothing)[1] is None


def test_what_methods_compute_is_counted(bench: Workbench) -> None:
    meter = Meter()
    judge(bench, NoDefense(), forged_by(bench, By(unchanged)), 0, meter)
    assert meter.explanations == 2 * 10 and meter.backwards == 2 * 10 * 2 * 3

    def trains(given: BackdoorCase, weights: Tensors) -> Forgery:
        model = given.model.trainable_copy()
        model(given.data[:7]).sum().backward()
        return Forgery(weights=model.module.state_dict())

    meter = Meter()
    forge(bench, By(trains), None, "oblivious", 0, meter)
    assert (meter.forwards, meter.backwards) == (14, 14)
