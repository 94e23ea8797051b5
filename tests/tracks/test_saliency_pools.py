"""What detectors of images are calibrated and tested on: ordinary adversarial examples among them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from harness import ROOT
from torch import Tensor, cdist
from torch.nn import functional

from baselines.attacks.dombrowski import Dombrowski
from benchmark.api import Audit, Detector, Network, Query
from benchmark.explainers.base import correlation
from benchmark.methods.meter import Meter
from benchmark.tasks.task import load_task
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.adversarial import AGREES, Adversary
from benchmark.tracks.saliency.pools import Pools, pools_of
from benchmark.tracks.saliency.workbench import Workbench, prepare
from benchmark.tracks.verdict import detector_columns

PROMISED = ["clean", "noised", "adversarial"]


class Nearest(Detector):
    """Distance to the nearest natural image."""

    name = "nearest"
    paper = "test"

    def suspicion(self, audit: Audit) -> Tensor:
        return cdist(audit.inputs.flatten(1), audit.data.flatten(1)).amin(1)


class Residual(Detector):
    """What the first principal components of natural images leave."""

    name = "residual"
    paper = "test"

    def suspicion(self, audit: Audit) -> Tensor:
        natural = audit.data.flatten(1)
        axes = torch.linalg.svd(natural - natural.mean(0), full_matrices=False)[2][:64]
        centered = audit.inputs.flatten(1) - natural.mean(0)
        return (centered - centered @ axes.T @ axes).norm(dim=1)


class Rough(Detector):
    """Energy in high frequencies."""

    name = "rough"
    paper = "test"

    def suspicion(self, audit: Audit) -> Tensor:
        kernel = torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])[None, None]
        return functional.conv2d(audit.inputs, kernel).abs().mean((1, 2, 3))


class Greyish(Detector):
    """Share of pixels that are nearly, and not quite, black, as no background of a natural image is."""

    name = "greyish"
    paper = "test"

    def suspicion(self, audit: Audit) -> Tensor:
        return ((audit.inputs > 0) & (audit.inputs < 0.13)).double().mean((1, 2, 3))


class Saturated(Detector):
    """How near the share of dark pixels at the budget's end is to what lies between noise and coming back."""

    name = "saturated"
    paper = "test"

    def suspicion(self, audit: Audit) -> Tensor:
        levels, shares = (audit.inputs * 255).round(), []
        for end in (4, 8, 16, 32):
            dark = (levels <= end).flatten(1).sum(1).clamp(min=1)
            at, beyond = ((levels == level).flatten(1).sum(1) for level in (end, end + 1))
            shares.append((at - beyond).clamp(min=0) / dark)
        return -((torch.stack(shares).amax(0) + 1e-3) / 0.18).log().abs().to(audit.inputs)


@cache
def ready() -> Workbench:
    """The images of version 1: three of version 2's sixteen lie far from all others as they are."""
    task = load_task("saliency/smoke-gradient", ROOT).model_copy(update={"version": 1})
    return prepare(task, Path(ROOT), torch.device("cpu"))


@cache
def pools() -> Pools:
    return pools_of(ready())


@cache
def attacked() -> Workbench:
    """The task with the negatives' own images as cases: what tells them from forgeries is no other image."""
    bench = ready()
    targets = Images(bench.negatives.inputs.roll(1, 0), bench.negatives.labels.roll(1, 0))
    return Workbench(**{**vars(bench), "cases": bench.negatives, "targets": targets})


@cache
def forgery() -> dict[str, Tensor]:
    attack = Dombrowski(iterations=60, learning_rate=0.1)
    return steps.forge(attacked(), attack, None, "oblivious", 0, Meter())


def rows(images: Images) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.inputs}


def test_pools_are_of_the_promised_kinds_and_made_of_images_that_are_no_case() -> None:
    bench = ready()
    assert list(pools().calibration) == PROMISED
    assert list(pools().negatives) == [*PROMISED, "jpeg", "blur", "brightness", "shift"]
    assert pools() is pools_of(bench), "made once"
    sets = [bench.calibration, bench.negatives, bench.cases, Images(bench.natural, bench.natural)]
    sets += [made[kind] for made in (pools().calibration, pools().negatives) for kind in PROMISED[1:]]
    assert sum(len(rows(images)) for images in sets) == len(set.union(*map(rows, sets)))


@pytest.mark.parametrize("role", ["calibration", "negatives"])
def test_adversarial_examples_are_forgeries_that_leave_the_map_and_the_class_alone(role: str) -> None:
    bench, made = ready(), vars(pools())[role]
    examples, clean = made["adversarial"], made["clean"]
    assert len(examples) >= 0.9 * len(clean)
    assert torch.equal(predictions(bench.model, examples.inputs), examples.labels)
    assert torch.equal((examples.inputs * 255).round() / 255, examples.inputs)
    nearest = cdist(examples.inputs.flatten(1), clean.inputs.flatten(1), p=torch.inf).min(1)
    assert torch.allclose(nearest.values, torch.tensor(bench.task.budget.linf), atol=1e-6), (
        "all of the budget"
    )
    own = clean.inputs[nearest.indices]
    maps = [
        bench.explainer.explain(bench.model, Query(inputs, examples.labels))
        for inputs in (examples.inputs, own)
    ]
    assert correlation(*maps).min() >= AGREES


def test_adversarial_examples_are_the_same_to_the_bit_when_made_again() -> None:
    bench = ready()
    few = bench.negatives.part(slice(3))
    inputs = [
        Adversary(bench.model, bench.explainer, 0.1, 2, seed).there_and_back(few.inputs, few.labels)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(inputs[0], inputs[1])
    assert not torch.equal(inputs[0], inputs[2]), "how far what remains is stretched is drawn"
    assert not torch.equal(inputs[0], few.inputs)


def test_negatives_have_as_many_pixels_at_the_budgets_ends_as_forgeries() -> None:
    """Else counting them would tell who is not forged."""
    bench, linf = ready(), ready().task.budget.linf

    def at_the_ends(inputs: Tensor, clean: Tensor) -> Tensor:
        return ((inputs - clean).abs() > linf - 1e-4).double().mean((1, 2, 3))

    clean = bench.negatives
    nearest = cdist(pools().negatives["adversarial"].inputs.flatten(1), clean.inputs.flatten(1), p=torch.inf)
    own = clean.inputs[nearest.argmin(1)]
    harmless = at_the_ends(pools().negatives["adversarial"].inputs, own)
    forged = at_the_ends(forgery()["inputs"], clean.inputs)
    assert harmless.min() < forged.median() < harmless.max()
    assert forged.median() / 3 < harmless.median() < 3 * forged.median()


def test_a_network_that_reads_other_maps_is_not_left_alone() -> None:
    bench = ready()
    few = bench.negatives.part(slice(4))
    adversary = Adversary(bench.model, bench.explainer, 0.1, 4, 0)
    assert adversary.left_alone(few.inputs, few.inputs, few.labels).all()
    assert not adversary.left_alone(few.inputs.flip(2), few.inputs, few.labels).any()
    assert isinstance(adversary.model, Network)


@pytest.mark.parametrize(
    "detector", [Nearest(), Residual(), Rough(), Greyish()], ids=lambda one: str(one.name)
)
def test_who_looks_at_no_map_cannot_tell_forgeries_from_other_adversarial_examples(
    detector: Detector,
) -> None:
    """At a threshold that keeps its promise for each kind, novelty detects next to nothing."""
    reference = steps.reference(ready(), detector, 0, Meter())
    answer = steps.judge(attacked(), detector, forgery(), 0, Meter())
    found = detector_columns(answer["suspicion"], reference, 0.05)
    count = len(found["detected"])
    assert found["calibrated_adversarial"][0] >= 19 and count == 16
    assert sum(found["detected"]) <= 2
    assert sum(found["auroc_adversarial"]) / count < 0.65


def test_who_counts_pixels_at_the_budgets_end_detects_next_to_nothing() -> None:
    """With noise on all pixels and what came back unstretched as the only negatives it did."""
    reference = steps.reference(ready(), Saturated(), 0, Meter())
    answer = steps.judge(attacked(), Saturated(), forgery(), 0, Meter())
    assert sum(detector_columns(answer["suspicion"], reference, 0.05)["detected"]) <= 2


def test_forgeries_differ_from_clean_images_by_more_than_their_maps() -> None:
    """Against clean images alone a look at the background finds them."""
    reference = steps.reference(ready(), Greyish(), 0, Meter())
    answer = steps.judge(attacked(), Greyish(), forgery(), 0, Meter())
    clean = {name: scores for name, scores in reference.items() if name.endswith("_clean")}
    assert sum(detector_columns(answer["suspicion"], clean, 0.05)["detected"]) >= 12
