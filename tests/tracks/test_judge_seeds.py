"""The judge's randomness follows from what is judged, and costs methods without chance nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import ROOT
from torch import Tensor

from benchmark.api import Audit, Detector, Explainer, Hardening, Query
from benchmark.explainers import NoiseAverage
from benchmark.methods.meter import Meter
from benchmark.seeds import seed_of
from benchmark.tasks.task import load_task
from benchmark.tracks.chance import image_seeds
from benchmark.tracks.images import Images, predictions
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.scoring import Scorer, make_scorer
from benchmark.tracks.saliency.workbench import Workbench, prepare


class Plain(Hardening):
    """No chance."""

    name = "plain"
    paper = "test"

    def harden(self, explainer: Explainer) -> Explainer:
        return explainer


class Noisy(Hardening):
    """Few draws: as much chance as there can be."""

    name = "noisy"
    paper = "test"

    def harden(self, explainer: Explainer) -> Explainer:
        return NoiseAverage(explainer, 2, 0.3, name=self.name)


class Drawn(Detector):
    """A suspicion that is a draw."""

    name = "drawn"
    paper = "test"

    def suspicion(self, audit: Audit) -> Tensor:
        generator = torch.Generator().manual_seed(audit.seed)
        return audit.inputs.flatten(1).sum(1) + torch.rand(1, generator=generator)


@cache
def ready() -> tuple[Workbench, Scorer]:
    bench = prepare(load_task("saliency/smoke-gradient", ROOT), Path(ROOT), torch.device("cpu"))
    return bench, make_scorer(bench)


def judged(defense: Any, inputs: Tensor) -> dict[str, Tensor]:
    return steps.judge(ready()[0], defense, {"inputs": inputs}, 0, Meter())


def forged() -> Tensor:
    inputs = ready()[0].cases.inputs
    noise = torch.rand(inputs.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    return (inputs + 0.1 * noise.to(inputs)).clamp(0, 1)


def test_a_seed_changes_with_any_change_of_its_image_and_with_no_other() -> None:
    inputs = forged()
    before = image_seeds(inputs, "judge")
    assert before == image_seeds(inputs, "judge") != image_seeds(inputs, "audit")
    assert len(set(before)) == len(inputs)
    other = inputs.clone()
    other[1, 0, 3, 3] = torch.nextafter(other[1, 0, 3, 3], other.new_tensor(2.0))
    changed = [first != second for first, second in zip(before, image_seeds(other, "judge"), strict=True)]
    assert changed == [index == 1 for index in range(len(inputs))]


def test_under_chance_a_copied_target_lands_at_one_and_a_clean_image_at_nothing() -> None:
    """The draws follow from the image: of equal images they are equal, whichever is the forgery."""
    bench, scorer = ready()
    reference = steps.reference(bench, Noisy(), 0, Meter())
    for inputs, column in ((bench.targets.inputs, "pcc_target"), (bench.cases.inputs, "pcc_original")):
        answer = judged(Noisy(), inputs)
        assert answer.keys() == {"maps"}, "no process is asked about an image and its forgery"
        found = scorer.score({"inputs": inputs}, reference, answer, 0)
        assert min(found[column]) > 0.9999
    assert max(found["manipulation"]) < 1e-9  # of the clean images


def test_without_chance_maps_are_those_under_the_public_seed_to_the_last_bit() -> None:
    bench, _ = ready()
    inputs = forged()
    answer = judged(Plain(), inputs)
    assert answer.keys() == {"maps"}
    public = seed_of("judge", bench.task.id, bench.task.version, 0)
    with torch.no_grad():
        expected = bench.explainer.explain(
            bench.model, Query(inputs, predictions(bench.model, inputs), public)
        )
    assert torch.equal(answer["maps"], expected)


@pytest.mark.parametrize("defense", [Noisy(), Drawn()], ids=lambda method: str(method.name))
def test_an_answer_does_not_depend_on_the_other_forgeries(defense: Any) -> None:
    inputs = forged()
    other = inputs.flip(3)
    other[0] = inputs[0]
    for name, values in judged(defense, inputs).items():
        again = judged(defense, other)[name]
        assert torch.equal(values[0], again[0])
        if name != "company":
            assert not torch.equal(values[1], again[1])


def test_natural_images_are_audited_by_the_rule_of_forged_ones() -> None:
    bench, _ = ready()
    inputs = bench.negatives.inputs[: len(bench.cases)]
    reference = steps.reference(bench, Drawn(), 0, Meter())
    assert torch.equal(judged(Drawn(), inputs)["suspicion"], reference["negative_clean"][: len(inputs)])


def test_the_undefended_maps_of_a_detectors_cell_are_those_of_no_defense() -> None:
    bench, scorer = ready()
    noisy = Workbench(**{**vars(bench), "explainer": NoiseAverage(bench.explainer, 2, 0.3, name="noisy")})
    inputs = {"inputs": forged()}
    reference = steps.reference(noisy, Plain(), 0, Meter())
    answer = steps.judge(noisy, Plain(), inputs, 0, Meter())
    defended = Scorer(noisy, scorer.distances).score(inputs, reference, answer, 0)
    suspicion = {"suspicion": torch.zeros(len(bench.cases)).double()}
    natural = {
        "calibration_clean": torch.rand(8),
        "negative_clean": torch.rand(4),
    }
    audited = Scorer(noisy, scorer.distances).score(inputs, natural, suspicion, 0)
    assert audited["pcc_target"] == pytest.approx(defended["pcc_target"], abs=1e-6)


def test_images_can_be_taken_in_parts() -> None:
    images = Images(torch.arange(6.0).view(6, 1, 1, 1), torch.arange(6))
    assert images.part(slice(2, 4)).labels.tolist() == [2, 3]
