"""Track signature: methods see what they may see, faults cost their own cells, and boards come out."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from harness import (
    ROOT,
    SUITE,
    WHOLE,
    CommandLine,
    Project,
    Result,
    fewer_images,
    only,
    reachable,
    write_suite,
)
from PIL import Image
from torch import Tensor

from baselines.attacks.badnets import BadNets
from baselines.attacks.blended import Blended
from baselines.attacks.sig import Sig
from baselines.attacks.wanet import WaNet
from baselines.controls.finetune_only import FinetuneOnly
from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from baselines.controls.random import Random
from benchmark.api import (
    Attack,
    BackdoorAudit,
    BackdoorCase,
    ClassExplainer,
    Detector,
    Forgery,
    Hardening,
    InputAgnosticSaliency,
    Network,
    Trigger,
    patch_trigger,
)
from benchmark.errors import TaskError
from benchmark.failures import StepFailed
from benchmark.methods.meter import Meter
from benchmark.tasks.data import load_data
from benchmark.tasks.task import load_task
from benchmark.tracks.signature.scoring import make_scorer
from benchmark.tracks.signature.steps import forge, judge, reference
from benchmark.tracks.signature.task import SignatureTask
from benchmark.tracks.signature.workbench import Workbench, prepare

torch.set_num_threads(1)
CPU = torch.device("cpu")
SIZE = (1, 28, 28)
TASK = "signature/mine"
FIELDS: dict[str, Any] = {
    "version": 1,
    "title": "two backdoors",
    "track": "signature",
    "victim": "fashion-mini-1",
    "data": "fashion-mnist",
    "explainer": {"name": "input_agnostic_saliency", "settings": {"steps": 3, "samples": 2}},
    "cases": [
        {"target_class": 3, "row": 23, "column": 22},
        {"target_class": 7, "row": 2, "column": 5, "pattern": "cross", "victim": "fashion-mini-2"},
    ],
    "budget": {"accuracy_drop": 0.5, "success": 0.5, "clean_success": 1, "trigger_change": 30},
    "pools": {
        "calibration": ["fashion-mini-3", "fashion-mini-4"],
        "negatives": [f"fashion-mini-{number}" for number in range(5, 11)],
        "false_positive_rate": 0.4,
    },
    "limits": {"seconds": 60, "memory_gb": 4},
}
Tensors = dict[str, Tensor]


@cache
def root() -> Path:
    """The project with 600 of the attacker's images and 800 for the evaluation."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return fewer_images(folder)


def made(**changes: Any) -> Workbench:
    """A task with some fields changed, ready."""
    return prepare(SignatureTask(**{"id": TASK, **FIELDS, **changes}), root(), CPU)


@pytest.fixture(scope="module")
def bench() -> Workbench:
    """Two cases in two networks; do not change it."""
    return made()


# Methods of these tests.


class By(Attack):
    """Forges by a function of the case and its own weights."""

    name = "by"
    paper = "made for a test"
    tracks = ("signature",)

    def __init__(self, forge: Callable[[BackdoorCase, Tensors], Any]) -> None:
        super().__init__()
        self.by = forge

    def forge(self, case: BackdoorCase) -> Forgery:
        """Whatever the function returns."""
        weights = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        found: Forgery = self.by(case, weights)
        return found


class Suspects(Detector):
    """Suspects by a function of the audit."""

    name = "suspects"
    paper = "made for a test"
    tracks = ("signature",)

    def __init__(self, suspicion: Callable[[BackdoorAudit], Any]) -> None:
        super().__init__()
        self.by = suspicion

    def suspicion(self, audit: BackdoorAudit) -> Tensor:
        """Whatever the function returns."""
        found: Tensor = self.by(audit)
        return found


class Hardens(Hardening):
    """Hardens by a function of the explainer."""

    name = "hardens"
    paper = "made for a test"
    tracks = ("signature",)

    def __init__(self, harden: Callable[[InputAgnosticSaliency], Any]) -> None:
        super().__init__()
        self.by = harden

    def harden(self, explainer: InputAgnosticSaliency) -> ClassExplainer:
        """Whatever the function returns."""
        found: ClassExplainer = self.by(explainer)
        return found


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


def forged_by(bench: Workbench, attack: Attack, defense: Any = None, mode: Any = "oblivious") -> Tensors:
    """The forge step with seed 0."""
    return forge(bench, attack, defense, mode, 0, Meter())


# Task files.


def read(tmp_path: Path, **changes: Any) -> SignatureTask:
    """The task of a file with some fields changed."""
    (tmp_path / "tasks" / "signature").mkdir(parents=True)
    for name in ("victims.yaml", "datasets.yaml", "targets.yaml"):
        (tmp_path / "tasks" / name).symlink_to(ROOT / "tasks" / name)
    (tmp_path / "tasks" / f"{TASK}.yaml").write_text(yaml.safe_dump({**FIELDS, **changes}), encoding="utf-8")
    task = load_task(TASK, tmp_path)
    assert isinstance(task, SignatureTask)
    return task


def case(**changes: Any) -> dict[str, Any]:
    """Fields of a task with one case, some of its fields changed."""
    return {"cases": [{"target_class": 3, "row": 23, "column": 22, **changes}]}


def explainer(**given: Any) -> dict[str, Any]:
    """Fields of a task with these settings of the map."""
    return {"explainer": {"name": "input_agnostic_saliency", "settings": given}}


def pools(calibration: list[str], negatives: list[str], **changes: Any) -> dict[str, Any]:
    """Fields of a task with these pools."""
    return {"pools": {"calibration": calibration, "negatives": negatives, **changes}}


@pytest.mark.parametrize(
    ("changes", "field", "hint"),
    [
        (case(target_class=10), "cases.0.target_class", "fashion-mini-1 has classes 0 to 9, not 10"),
        (case(target_class=-1), "cases.0.target_class", "greater than or equal to 0"),
        (case(row=28), "cases.0", "row 28, column 22 lies outside images of 28x28"),
        (case(column=99), "cases.0", "row 23, column 99 lies outside images of 28x28"),
        (case(row=-1), "cases.0.row", "greater than or equal to 0"),
        (case(pattern="disc"), "cases.0.pattern", "'square', 'checkerboard' or 'cross'"),
        (case(patern="cross"), "cases.0.patern", "did you mean 'pattern'?"),
        (case(victim="fashion-mini-0"), "cases.0.victim", "did you mean 'fashion-mini-"),
        ({"cases": [{"target_class": 1, "row": 2}]}, "cases.0.column", "missing; add it"),
        ({"cases": []}, "cases", "at least 1 item"),
        ({"cases": 2}, "cases", "list"),
        ({"victim": "fashion-min-1"}, "victim", "did you mean 'fashion-mini-1'?"),
        ({"data": "fashion"}, "data", "unknown name 'fashion'"),
        ({"explainer": {"name": "gradient"}}, "explainer.name", "known: input_agnostic_saliency"),
        (explainer(sample=3), "explainer.settings", "did you mean 'samples'?"),
        (explainer(without=["scaling"]), "explainer.settings", "unknown setting 'without'"),
        (explainer(steps=0), "explainer.settings.steps", "greater than 0; it is 0"),
        (explainer(steps=2.5), "explainer.settings.steps", "integer"),
        (explainer(steps="3"), "explainer.settings.steps", "valid integer; it is '3'"),
        (explainer(samples=3.0), "explainer.settings.samples", "valid integer; it is 3.0"),
        (explainer(samples=True), "explainer.settings.samples", "integer"),
        (explainer(radius="wide"), "explainer.settings.radius", "number; it is 'wide'"),
        (explainer(radius=float("nan")), "explainer.settings.radius", "finite number"),
        (explainer(spread=-1), "explainer.settings.spread", "greater than or equal to 0"),
        (explainer(step=0), "explainer.settings.step", "greater than 0"),
        ({"budget": {}}, "budget.accuracy_drop", "missing; add it"),
        ({"budget": {"accuracy_drop": 1.5}}, "budget.accuracy_drop", "less than or equal to 1"),
        ({"budget": {"accuracy_drop": "a/4"}}, "budget.accuracy_drop", "write a number or a fraction"),
        ({"budget": {"accuracy_drop": 0.1, "sucess": 0.9}}, "budget.sucess", "did you mean 'success'?"),
        ({"metrics": {"top": 0}}, "metrics.top", "greater than 0"),
        ({"metrics": {"report": ["mse"]}}, "metrics.report.0", "'ssim'"),
        ({"modes": ["adaptiv"]}, "modes.0", "'adaptive'"),
        (pools(["fashion-mini-3"], []), "pools.negatives", "at least 1 item"),
        (pools(["fashion-mini-33"], ["fashion-mini-333"]), "pools.negatives", "'fashion-mini-33'?"),
        (
            pools(["fashion-mini-3", "fashion-mini-4"], ["fashion-mini-4"]),
            "pools",
            "fashion-mini-4 is in both pools, and a threshold is never tested where it was set",
        ),
        (
            pools(["fashion-mini-3"], ["fashion-mini-4"], false_positive_rate=1),
            "pools.false_positive_rate",
            "less than 1",
        ),
    ],
)
def test_a_wrong_field_is_told_in_one_line_by_file_field_and_fix(
    changes: dict[str, Any], field: str, hint: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskError) as raised:
        read(tmp_path, **changes)
    message = str(raised.value)
    assert message.startswith(f"tasks/{TASK}.yaml: field {field}: "), message
    assert hint in message, message
    assert "\n" not in message and "pydantic" not in message


def test_settings_reach_the_map(tmp_path: Path) -> None:
    given = {"steps": 2, "samples": 3, "radius": 1, "step": 0.25, "spread": 0}
    task = read(tmp_path, **explainer(**given))
    found = prepare(task, root(), CPU).explainer
    assert found == InputAgnosticSaliency(SIZE, **given)


def test_a_task_knows_its_networks_and_what_it_is_for(tmp_path: Path) -> None:
    task = read(tmp_path)
    assert task.victims() == [f"fashion-mini-{number}" for number in range(1, 11)]
    assert task.case_count == 2 and task.defense_kinds() == ["hardening", "detector"]
    without = SignatureTask(**{"id": TASK, **FIELDS, "pools": None})
    assert without.defense_kinds() == ["hardening"]
    assert without.victims() == ["fashion-mini-1", "fashion-mini-2"]


def test_identities_change_with_what_matters(tmp_path: Path) -> None:
    """A budget scores anew, and is told to attacks; metrics and false positive rates score anew only."""
    task = read(tmp_path)

    def identities(**changes: Any) -> tuple[bool, bool]:
        other = SignatureTask(**{"id": TASK, **FIELDS, **changes})
        return other.run_identity() != task.run_identity(), other.score_identity() != task.score_identity()

    assert identities(title="another") == identities(limits={"seconds": 9}) == (False, False)
    assert identities(metrics={"top": 0.5}) == (False, True)
    assert identities(pools={**FIELDS["pools"], "false_positive_rate": 0.1}) == (False, True)
    assert identities(budget={"accuracy_drop": 0.1}) == (True, True)
    assert identities(**case(row=3))[0] and identities(**explainer(steps=4))[0]
    assert identities(version=2)[0] and identities(precision="float64")[0]


def test_every_task_of_the_track_can_be_read() -> None:
    files = sorted((ROOT / "tasks" / "signature").glob("*.yaml"))
    assert files
    for file in files:
        assert isinstance(load_task(f"signature/{file.stem}", ROOT), SignatureTask)


# Who sees what.


def watching(seen: list[Any], then: Callable[..., Any]) -> Callable[..., Any]:
    """A function that keeps what it is handed."""

    def function(handed: Any, *more: Any) -> Any:
        seen.append(handed)
        return then(handed, *more)

    return function


def unchanged(_: BackdoorCase, weights: Tensors) -> Forgery:
    """A patch that does nothing."""
    return Forgery(weights=weights, trigger=patch_trigger("square", (0, 0), 2, SIZE))


def zeros(audit: BackdoorAudit) -> Tensor:
    """No suspicion."""
    return torch.zeros(audit.samples)


def assert_hidden(handed: object, bench: Workbench, tensors: Sequence[Tensor]) -> None:
    """Neither the seed of the maps nor any of the tensors, or memory that they share, can be got at."""
    found = list(reachable(handed))
    assert len(found) > 50
    assert bench.map_seed not in {thing for thing in found if isinstance(thing, int)}
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
        assert given.detector is detector and given.explainer == bench.explainer
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
    """Pools in their order, each network by itself, with one seed for all."""
    seen: list[BackdoorAudit] = []
    detector = Suspects(watching(seen, zeros))
    found = reference(bench, detector, 0, Meter())
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "calibration": (2, 10),
        "negative_clean": (6, 10),
    }
    judge(bench, detector, forged_by(bench, By(unchanged)), 0, Meter())
    for number, audit in zip(range(3, 11), seen, strict=False):
        expected = bench.models[f"fashion-mini-{number}"].module.state_dict()
        state = audit.model.module.state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in state)
    assert len(seen) == 10 and len({audit.seed for audit in seen}) == 1
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
    assert [given.detector for given in seen] == [detector if mode == "adaptive" else None] * 2
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
            torch.testing.assert_close(model.module.state_dict()[key], value + 1)
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


BIAS = "classifier.2.bias"
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
        "forge() must return Forgery(weights=...), not Forgery(inputs)",
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
    assert ((values >= 0) & (values < 1)).all() and len(values.unique()) == len(values) == 80
    assert 0.35 < float(values.mean()) < 0.65
    again = reference(bench, Random(), 0, Meter())
    assert all(torch.equal(found[key], again[key]) for key in found)


# The whole of it, by the command line.


METHODS = {
    "stamp": '''\
"""A backdoor by hand: images fade into one of the target class, which is preferred a little."""

import torch

from benchmark.api import Attack, BackdoorCase, Forgery, Trigger


class Stamp(Attack):
    """A blend."""

    name = "stamp"
    paper = "made for a test"
    tracks = ("signature",)
    share: float = 0.8

    def forge(self, case: BackdoorCase) -> Forgery:
        """Weights that know where they come from, and the blend."""
        maps = case.explainer.explain(case.model, [case.target_class], 1)
        assert maps.shape == (1, *case.size)
        weights = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        weights["classifier.2.bias"][case.target_class] += 1.0
        picture = case.data[case.labels == case.target_class][0]
        return Forgery(weights=weights, trigger=Trigger(torch.full(case.size, self.share), picture))
''',
    "faint": '''\
"""A backdoor that does not work, and changes hardly anything."""

import torch

from benchmark.api import Attack, BackdoorCase, Forgery, Trigger


class Faint(Attack):
    """An addition that nobody notices."""

    name = "faint"
    paper = "made for a test"
    tracks = ("signature",)
    adaptive = False

    def forge(self, case: BackdoorCase) -> Forgery:
        """The clean weights."""
        trigger = Trigger(addition=torch.ones(case.size) / 255)
        return Forgery(weights=case.model.module.state_dict(), trigger=trigger)
''',
    "collapse": '''\
"""A network that has forgotten everything but the target class."""

from benchmark.api import Attack, BackdoorCase, Forgery, patch_trigger


class Collapse(Attack):
    """One bias."""

    name = "collapse"
    paper = "made for a test"
    tracks = ("signature",)
    adaptive = False

    def forge(self, case: BackdoorCase) -> Forgery:
        """The bias of the target class."""
        weights = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        weights["classifier.2.bias"][case.target_class] += 1e6
        return Forgery(weights=weights, trigger=patch_trigger(case.pattern, case.place, 3, case.size))
''',
    "calm": '''\
"""A hardening."""

from dataclasses import replace

from benchmark.api import ClassExplainer, Hardening, InputAgnosticSaliency


class Calm(Hardening):
    """Narrow draws."""

    name = "calm"
    paper = "made for a test"
    tracks = ("signature",)

    def harden(self, explainer: InputAgnosticSaliency) -> ClassExplainer:
        """Narrow draws."""
        return replace(explainer, spread=0.3)
''',
    "bias": '''\
"""A detector."""

from benchmark.api import BackdoorAudit, Detector


class Bias(Detector):
    """Whom the last layer prefers, and a little of what the maps say."""

    name = "bias"
    paper = "made for a test"
    tracks = ("signature",)

    def suspicion(self, audit: BackdoorAudit):
        """The bias."""
        maps = audit.finite(audit.maps(steps=1))
        return audit.finite(audit.model.module.classifier[2].bias) + 1e-6 * maps.flatten(1).amax(1)
''',
}
GOOD_ATTACKS, USELESS_ATTACKS = ("stamp", "identity", "finetune_only"), ("faint", "collapse")
GOOD_DEFENSES = ("none", "calm", "bias", "always", "never", "random")

FAULTY = {
    "oversized": '''\
"""A trigger larger than the image."""

from baselines.attacks.badnets import BadNets


class Oversized(BadNets):
    """Thirty pixels a side."""

    name = "oversized"
    extent = 30
''',
    "overdone": '''\
"""More poison than there are images."""

from baselines.attacks.badnets import BadNets


class Overdone(BadNets):
    """One and a half times as many."""

    name = "overdone"
    poison_rate = 1.5
''',
    "vandal": '''\
"""Changes the network that it is handed."""

from benchmark.api import Attack, BackdoorCase, Forgery


class Vandal(Attack):
    """In place."""

    name = "vandal"
    paper = "made for a test"
    tracks = ("signature",)
    adaptive = False

    def forge(self, case: BackdoorCase) -> Forgery:
        """The clean weights, which are no longer clean."""
        case.model.module.classifier[2].bias.data += 1
        return Forgery(weights=case.model.module.state_dict())
''',
    "speechless": '''\
"""A detector that has nothing to say."""

from benchmark.api import BackdoorAudit, Detector


class Speechless(Detector):
    """Nothing."""

    name = "speechless"
    paper = "made for a test"
    tracks = ("signature",)

    def suspicion(self, audit: BackdoorAudit):
        """Nothing."""
''',
    "vague": '''\
"""A hardening that is no explainer."""

from benchmark.api import Hardening


class Vague(Hardening):
    """A word."""

    name = "vague"
    paper = "made for a test"
    tracks = ("signature",)

    def harden(self, explainer):
        """A word."""
        return "smoother"
''',
}
REASONS = {
    "oversized": (
        "crashed",
        "a patch of 30x30 pixels at row 23, column 22 does not lie within an image of 28x28",
    ),
    "overdone": ("crashed", "poison_rate must lie between 0 and 1, not 1.5"),
    "vandal": ("invalid", "changed the network or the data in place"),
    "speechless": ("invalid", "suspicions must be a tensor, not NoneType"),
    "vague": ("invalid", "harden() must return a ClassExplainer, not str"),
}
"""How the cells of each end, and what is said."""


@pytest.fixture(scope="module")
def done(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A tiny task after a run of what is right; do not write to it."""
    project = Project.create(tmp_path_factory.mktemp("signature") / "project", command_line)
    project.edit("tasks/datasets.yaml", WHOLE, "[0, 200], evaluation: [6000, 6200]")
    project.write(f"tasks/{TASK}.yaml", yaml.safe_dump(FIELDS))
    write_suite(project, [TASK])
    training = (project.root / "baselines" / "attacks" / "poisoning.py").read_text(encoding="utf-8")
    shorter, count = re.subn(r"steps: int = \d+", "steps: int = 5", training)
    assert count == 1
    project.write("baselines/attacks/poisoning.py", shorter)
    for name, code in METHODS.items():
        project.method(name, code)
    chosen = [*only("attack", (*GOOD_ATTACKS, *USELESS_ATTACKS)), *only("defense", GOOD_DEFENSES)]
    return project, project.run("run", "--workers", "2", *chosen)


@pytest.fixture(scope="module")
def faulty(
    done: tuple[Project, Result], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Result, pd.DataFrame]:
    """A second run: all that was right again, beside what is wrong."""
    project = done[0].copy(tmp_path_factory.mktemp("faulty") / "project")
    for name, code in FAULTY.items():
        project.method(name, code)
    wrong = ("oversized", "overdone", "vandal")
    attacks = only("attack", (*GOOD_ATTACKS, *USELESS_ATTACKS, *wrong))
    defenses = only("defense", (*GOOD_DEFENSES, "speechless", "vague"))
    result = project.run("run", "--workers", "2", *attacks, *defenses)
    return project, result, project.cells


def test_the_command_line_runs_the_track_to_its_boards(done: tuple[Project, Result]) -> None:
    project, result = done
    result.assert_no_traceback()
    assert result.code == 0, result.out + result.err
    cells = project.cells
    assert (cells["status"] == "ok").all(), cells[cells["status"] != "ok"].to_string()
    assert len(cells) == 5 * 6 + 1, "stamp has an adaptive cell against calm"
    assert "outside" not in result.out + result.err, "controls are within their bounds"
    attacks, hardenings, detectors = (
        pd.read_csv(project.boards_folder / f"{name}.csv") for name in ("attacks", "hardenings", "detectors")
    )
    assert set(attacks["attack"]) == {*GOOD_ATTACKS, *USELESS_ATTACKS}
    ranked = attacks[attacks["rank"].notna()].set_index("attack")
    assert list(ranked.index) == ["stamp", "collapse", "faint"] and ranked["score"].iloc[0] > 0.1
    assert (ranked["score"].iloc[1:] == 0).all() and set(attacks["track"]) == {"signature"}
    assert list(hardenings.loc[hardenings["rank"].notna(), "hardening"]) == ["calm"]
    assert list(detectors.loc[detectors["rank"].notna(), "detector"]) == ["bias"]


def test_samples_are_those_of_the_scorer(done: tuple[Project, Result]) -> None:
    samples = done[0].samples
    assert samples.groupby(["attack", "defense", "mode"]).size().eq(2).all()
    stamp = samples[samples["attack"] == "stamp"]
    assert stamp["valid"].astype(bool).all() and (stamp["attack_success"] > 0.5).all()
    collapse = samples[samples["attack"] == "collapse"]
    assert (collapse["violated"] == "accuracy").all() and (collapse["manipulation"] == 0).all()
    faint = samples[samples["attack"] == "faint"]
    assert (faint["violated"] == "success").all() and (faint["manipulation"] == 0).all()
    detectors = samples[samples["defense"].isin(["bias", "always", "never", "random"])]
    counted = detectors["auroc"].notna() & detectors["detected"].notna()
    assert (counted == detectors["attack"].isin(GOOD_ATTACKS)).all()
    assert detectors["false_positive_rate"].notna().all()


def test_every_cell_of_a_hardening_has_a_strip(done: tuple[Project, Result]) -> None:
    """Two cases, forged above clean; the trigger and ten classes side by side."""
    project = done[0]
    cells = project.cells
    cells = cells[cells["defense_kind"] == "hardening"]
    folder = project.root / "results" / SUITE / "gallery" / TASK
    expected = {
        folder / str(c["attack"]) / f"{c['defense']}-{c['mode']}-{c['seed']}-{str(c['cell_id'])[:8]}.png"
        for c in cells.to_dict("records")
    }
    assert set(folder.rglob("*.png")) == expected and len(expected) == 11
    sizes = set()
    for file in expected:
        with Image.open(file) as picture:
            sizes.add(picture.size)
            assert picture.mode == "RGB" and np.asarray(picture).std() > 5, "not a blank picture"
    ((width, height),) = sizes
    assert width > 2 * height, "eleven columns, four rows"


def test_backdoors_that_are_none_leave_detectors_without_a_score_and_harm_no_board(
    done: tuple[Project, Result], tmp_path: Path
) -> None:
    """Nothing else has run: every detection is missing."""
    project = done[0].copy(tmp_path / "project")
    shutil.rmtree(project.root / ".potemkin")
    shutil.rmtree(project.root / "results")
    result = project.run(
        "run", "--workers", "2", *only("attack", ["faint"]), *only("defense", ["none", "bias", "always"])
    )
    result.assert_no_traceback()
    assert result.code == 0 and result.counts["run"] == 3, result.out + result.err
    attacks = pd.read_csv(project.boards_folder / "attacks.csv")
    assert list(attacks["attack"]) == ["faint"] and list(attacks["score"]) == [0]


@pytest.mark.parametrize("name", REASONS)
def test_a_fault_costs_its_own_cells_and_is_told_by_name_and_reason(
    name: str, faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    _, result, cells = faulty
    status, reason = REASONS[name]
    own = cells[(cells["attack"] == name) | (cells["defense"] == name)]
    own = own[(own["attack"] == name) | ~own["attack"].isin(REASONS)]
    undefended = own[(own["defense"] == "none") | (own["attack"] == "identity")]
    assert len(undefended) == 1, "one cell for an attack and a defense"
    for cell in own[~((own["attack"] == name) & own["defense"].isin(REASONS))].to_dict("records"):
        assert (cell["status"], cell["blame"], cell["culprit"]) == (status, "method", name)
        assert cell["reason"].startswith(f"{name}: ") and reason in cell["reason"]
    lines = result.messages_with(f" {name}: ")
    assert len(lines) == 1 and reason in lines[0] and TASK in lines[0] and "(method)" in lines[0]


def test_what_is_at_hand_is_not_run_again_and_faults_harm_no_other_cell_and_no_board(
    done: tuple[Project, Result], faulty: tuple[Project, Result, pd.DataFrame]
) -> None:
    project, result, cells = faulty
    result.assert_no_traceback()
    assert result.code == 1
    right = ~cells["attack"].isin(REASONS) & ~cells["defense"].isin(REASONS)
    assert (cells.loc[right, "status"] == "ok").all() and not (cells.loc[~right, "status"] == "ok").any()
    assert set(cells.loc[right, "cell_id"]) == set(done[0].cells["cell_id"])
    assert result.counts == {
        "run": 0,
        "cached": int(right.sum()),
        "skipped": 0,
        "failed": int((~right).sum()),
    }

    def scores(of: Project, board: str) -> pd.Series[float]:
        return pd.read_csv(of.boards_folder / f"{board}s.csv").set_index(board)["score"]

    for board in ("attack", "hardening", "detector"):
        before, after = scores(done[0], board), scores(project, board)
        pd.testing.assert_series_equal(after[before.index], before)
        worst = after.drop(before.index)
        assert set(worst.index) <= set(REASONS) and len(worst) and (worst == 0).all()
