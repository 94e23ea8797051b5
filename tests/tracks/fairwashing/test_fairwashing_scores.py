"""Samples of track fairwashing: what is asked for, what counts, and what budgets take away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fairwashing_case import CASES, IMAGES, Counting, Tensors, forged, made, of_goal, scored
from torch import Tensor

from baselines.defenses.smoothgrad import SmoothGrad
from benchmark.api import FairwashingCase, Forgery, Query, Trigger, patch_trigger
from benchmark.failures import StepFailed
from benchmark.methods.formats import eight_bits
from benchmark.metrics.mass import displacement, mass_on_top
from benchmark.metrics.similarity import pcc
from benchmark.tracks.fairwashing.workbench import Workbench


def shaken(case: FairwashingCase, weights: Tensors, by: float = 0.05) -> Forgery:
    """Weights with a little noise, and the usual trigger where the goal has one."""
    generator = torch.Generator().manual_seed(0)
    found = {
        name: value + by * value.abs().mean() * torch.randn(value.shape, generator=generator)
        for name, value in weights.items()
    }
    trigger = None
    if case.goal.place is not None:
        trigger = patch_trigger("square", case.goal.place, 4, case.size)
    return Forgery(weights=found, trigger=trigger)


def explained(bench: Workbench, model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
    """Undefended maps."""
    with torch.no_grad():
        return bench.explainer.explain(model, Query(inputs, labels))


@pytest.mark.parametrize("goal", CASES)
def test_a_sample_is_an_image_and_manipulation_is_how_far_it_moved(goal: str) -> None:
    """The whole formula anew, from networks and images alone."""
    bench = of_goal(goal, budget={"accuracy_drop": 0.9, "agreement": 0.1, "drift": 1.0, "clean_success": 1.0})
    (case,) = bench.cases
    forgery = forged(bench, shaken)
    columns = scored(bench, forgery)
    clean, (model, trigger) = bench.models["fashion-tiny"], bench.forged(0, forgery)
    natural, labels = case.images.inputs, case.images.labels
    shown = natural if trigger is None else eight_bits(trigger.apply(natural))
    asked = torch.full_like(labels, 3) if goal in ("red_herring", "full_disguise") else labels
    said = model(shown).argmax(1)
    own, before = explained(bench, clean, natural, labels), explained(bench, clean, natural, asked)
    now = explained(bench, model, shown, said)
    if goal in ("top_k", "center_mass"):
        pairs = [
            (1 - mass_on_top(maps, own, 0.1) / 0.1).clamp(min=0)
            if goal == "top_k"
            else displacement(maps, own)
            for maps in (now, before)
        ]
    else:
        wanted = own
        if case.goal.picture is not None:
            wanted = case.goal.picture.expand_as(now)
        if goal == "swapped_classes":
            wanted = explained(bench, clean, natural, torch.where(labels == 1, 9, 1))
        if case.goal.image is not None:
            one = explained(bench, clean, case.goal.image[None], torch.tensor([case.goal.image_class]))
            wanted = one.expand_as(now)
        pairs = [pcc(now, wanted), pcc(before, wanted)]
    expected = ((pairs[0] - pairs[1]) / (1 - pairs[1])).clamp(0, 1)
    expected = torch.where(said == asked, expected, 0.0)
    assert columns["manipulation"] == pytest.approx(expected.tolist(), abs=1e-6)
    assert columns["prediction_kept"] == (said == asked).double().tolist()
    assert len(set(columns["sample_id"])) == IMAGES and set(columns["goal"]) == {goal}


def test_what_nobody_changed_has_moved_nowhere() -> None:
    bench = made(metrics={"transfer": ["gradient_x_input"]})
    columns = scored(bench, forged(bench))
    assert columns["manipulation"] == [0.0] * 2 * IMAGES and all(columns["valid"])
    assert columns["pcc_original"] == pytest.approx([1.0] * 2 * IMAGES)
    assert set(columns["agreement"]) == {1.0} and set(columns["weight_change"]) == {0.0}
    assert columns["transfer_gradient_x_input"] == pytest.approx([0.0] * 2 * IMAGES)
    assert columns["usefulness"] == pytest.approx(columns["truth"])
    assert np.mean(columns["usefulness"]) > 0.5


def test_an_explainer_with_chance_has_the_same_draws_before_and_after() -> None:
    bench = made()
    columns = scored(bench, forged(bench), SmoothGrad(samples=3))
    assert columns["pcc_original"] == pytest.approx([1.0] * 2 * IMAGES)
    assert max(columns["fidelity"]) < 1


@pytest.mark.parametrize(
    ("budget", "by", "violated"),
    [
        ({"accuracy_drop": 0.001, "agreement": 0.01}, 2.0, "accuracy"),
        ({"accuracy_drop": 1.0, "agreement": 1.0}, 0.3, "agreement"),
        ({"accuracy_drop": 1.0, "agreement": 0.01}, 2.0, "prediction"),
    ],
)
def test_what_breaks_the_budget_manipulates_nothing(
    budget: dict[str, float], by: float, violated: str
) -> None:
    bench = made(budget=budget)
    columns = scored(bench, forged(bench, lambda case, weights: shaken(case, weights, by)))
    broken = [violated in text.split(",") for text in columns["violated"]]
    assert any(broken)
    for hit, moved, valid in zip(broken, columns["manipulation"], columns["valid"], strict=True):
        assert not hit or (moved == 0 and not valid)


def test_maps_that_were_to_stay_are_held_to_it() -> None:
    loose, tight = (
        of_goal("swapped_classes", budget={"accuracy_drop": 0.9, "agreement": 0.1, "drift": drift})
        for drift in (1.0, 0.001)
    )
    columns, strict = (scored(bench, forged(bench, shaken)) for bench in (loose, tight))
    assert columns["drift"] == strict["drift"] and 0.001 < columns["drift"][0] < 1
    assert all("drift" in text for text in strict["violated"])
    assert not any("drift" in text for text in columns["violated"])


def large(case: FairwashingCase, weights: Tensors) -> Forgery:
    """The clean weights and a trigger that changes everything."""
    addition = torch.full(case.size, 1.0)
    return Forgery(weights=weights, trigger=Trigger(addition=addition))


@pytest.mark.parametrize(
    "function", [lambda case, weights: Forgery(weights=weights), large], ids=["none", "large"]
)
def test_a_goal_with_a_trigger_needs_one_that_is_small(
    function: Callable[[FairwashingCase, Tensors], Forgery],
) -> None:
    bench = of_goal("trigger_picture")
    columns = scored(bench, forged(bench, function))
    assert all("trigger" in text.split(",") for text in columns["violated"])
    assert columns["manipulation"] == [0.0] * IMAGES


def test_a_trigger_that_needs_no_forgery_does_not_count() -> None:
    budget = {"accuracy_drop": 0.5, "agreement": 0.1, "trigger_change": 100.0}
    bench = of_goal("full_disguise", budget=budget)
    source = bench.splits.attacker
    image = source.images[source.labels == 3][0]

    def pasted(case: FairwashingCase, weights: Tensors) -> Forgery:
        return Forgery(weights=weights, trigger=Trigger(opacity=torch.ones(case.size), picture=image))

    columns = scored(bench, forged(bench, pasted))
    assert columns["clean_success"][0] > 0.2 and set(columns["manipulation"]) == {0.0}
    assert all("clean_success" in text for text in columns["violated"])


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda case, weights: Forgery(case.data[:2]), r"must return Forgery\(weights=...\)"),
        (lambda case, weights: Forgery(weights={}), "changed the architecture"),
        (
            lambda case, weights: Forgery(
                weights=weights, trigger=patch_trigger("square", (0, 0), 2, case.size)
            ),
            "goal picture has no trigger: return the weights alone",
        ),
    ],
)
def test_a_wrong_forgery_is_refused_in_one_sentence(
    function: Callable[[FairwashingCase, Tensors], Any], told: str
) -> None:
    bench = made()
    with pytest.raises(StepFailed, match=told) as raised:
        forged(bench, function)
    assert raised.value.blame == "method" and "\n" not in raised.value.reason


def test_a_detector_says_one_number_of_each_network() -> None:
    bench = made()
    columns = scored(bench, forged(bench, shaken), Counting())
    assert len(columns["suspicion"]) == 2 * IMAGES and len(set(columns["suspicion"])) == 2
    assert len(set(columns["threshold"])) == 1 and set(columns["auroc"]) <= {0.0, 0.5, 1.0}
    assert any(value > 0 for value in columns["weight_change"])
