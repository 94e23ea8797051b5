"""Tasks that explain some classes of a network, and not all of them."""

from __future__ import annotations

import pytest
import torch
from signature_case import By, Hardens, Suspects, Tensors, forged_by, made
from torch import Tensor

from benchmark.api import BackdoorAudit, BackdoorCase, Forgery, patch_trigger
from benchmark.methods.meter import Meter
from benchmark.tracks.signature.scoring import make_scorer
from benchmark.tracks.signature.steps import judge, reference
from benchmark.tracks.signature.workbench import Workbench

SOME = (0, 3, 7)
PLAIN = Hardens(lambda explainer: explainer)


@pytest.fixture(scope="module")
def some() -> Workbench:
    """Three of the ten classes."""
    return made(classes=[7, 3, 0])


def patched(case: BackdoorCase, weights: Tensors) -> Forgery:
    """The clean network's weights and a patch."""
    return Forgery(weights=weights, trigger=patch_trigger(case.pattern, case.place, 4, case.size))


def test_the_maps_are_those_of_a_task_that_explains_all(bench: Workbench, some: Workbench) -> None:
    assert some.classes == SOME and bench.classes == tuple(range(10))
    forged = forged_by(some, By(patched))
    for step in (
        lambda task: judge(task, PLAIN, forged, 0, Meter())["maps"],
        lambda task: reference(task, PLAIN, 0, Meter())["clean"],
    ):
        every, few = (step(task) for task in (bench, some))
        torch.testing.assert_close(few, every[:, list(SOME)], rtol=0, atol=1e-5)


def test_a_target_is_found_among_the_classes_that_are_explained(bench: Workbench, some: Workbench) -> None:
    forged = forged_by(some, By(patched))
    found = [
        make_scorer(task).score(
            forged, reference(task, PLAIN, 0, Meter()), judge(task, PLAIN, forged, 0, Meter()), 0
        )
        for task in (bench, some)
    ]
    every, few = found
    for name in ("target_class", "top_share", "top_share_clean", "pcc_trigger", "valid", "usefulness"):
        if name == "usefulness":  # decoys are the classes that are explained
            assert all(-1 <= value <= 1 for value in few[name])
            continue
        assert few[name] == pytest.approx(every[name], abs=1e-5), name
    assert few["class_probability_map"] == pytest.approx(every["class_probability_map"], abs=1e-5)


def test_detectors_are_asked_about_the_classes_that_are_explained(some: Workbench) -> None:
    asked: list[tuple[int, ...]] = []

    def suspicion(audit: BackdoorAudit) -> Tensor:
        asked.append(audit.classes)
        return torch.tensor([float(label == 7) for label in audit.classes])

    detector = Suspects(suspicion)
    forged = forged_by(some, By(lambda case, weights: Forgery(weights=weights)))
    clean, judged = (
        reference(some, detector, 0, Meter()),
        judge(some, detector, forged, 0, Meter()),
    )
    assert set(asked) == {SOME} and judged["suspicion"].tolist() == [[0, 0, 1], [0, 0, 1]]
    assert make_scorer(some).score(forged, clean, judged, 0)["target_named"] == [0.0, 1.0]


def test_attacks_know_which_classes_are_audited(bench: Workbench, some: Workbench) -> None:
    known: list[tuple[int, ...] | None] = []

    def forge(case: BackdoorCase, weights: Tensors) -> Forgery:
        known.append(case.classes)
        return Forgery(weights=weights)

    for task in (bench, some):
        forged_by(task, By(forge))
    assert known == [None, None, SOME, SOME]


def test_a_map_that_does_nothing_is_an_error_of_the_task() -> None:
    """Draws so wide that every value is black or white, in a ball that changes none visibly."""
    settings = {"steps": 1, "samples": 1, "radius": 0.01, "step": 0.01, "spread": 50}
    task = made(explainer={"name": "input_agnostic_saliency", "settings": settings})
    forged = forged_by(task, By(patched))
    steps = reference(task, PLAIN, 0, Meter()), judge(task, PLAIN, forged, 0, Meter())
    with pytest.raises(
        Exception, match=r"the map of class 3 of fashion-mini-1 does nothing .* smaller spread"
    ):
        make_scorer(task).score(forged, *steps, 0)
