"""Tasks that look at some units of a layer, and not at all of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from visualization_case import FIELDS, SEEDS, made, run

from baselines.controls.identity import Identity
from baselines.controls.none import NoDefense
from benchmark.api import Detector, Unit, VisualizationAudit
from benchmark.errors import TaskError
from benchmark.methods.meter import Meter
from benchmark.tracks.visualization.scoring import make_scorer
from benchmark.tracks.visualization.steps import forge
from benchmark.tracks.visualization.workbench import Workbench


@pytest.fixture(scope="module")
def some() -> Workbench:
    """Three other units of every layer."""
    return made(siblings=3)


class Among(Detector):
    """Suspects by a unit's number, and remembers what it was asked."""

    name = "among"
    paper = "made for a test"
    tracks = ("visualization",)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Unit, tuple[Unit, ...]]] = []

    def suspicion(self, audit: VisualizationAudit) -> Tensor:
        """Distance from the siblings' median number."""
        siblings = audit.siblings()
        self.asked.append((audit.units[0], siblings))
        return audit.among_siblings(torch.tensor([float(unit.index) for unit in siblings]))


def test_a_unit_is_always_among_its_siblings(bench: Workbench, some: Workbench) -> None:
    for case in some.cases:
        every, few = (task.siblings(case.unit, case.victim) for task in (bench, some))
        assert set(few) < set(every) and case.unit in few and len(few) in (3, 4)
        assert few == some.siblings(case.unit, case.victim), "drawn for the task"
        assert 1 <= len(some.others(case)) <= 2 and case.unit not in some.others(case)
    assert some.among("logits", some.models["fashion-tiny"]) == some.among(
        "logits", some.models["fashion-small"]
    )
    assert made(siblings=10**6).siblings(some.cases[0].unit, some.cases[0].victim) == bench.siblings(
        bench.cases[0].unit, bench.cases[0].victim
    )


def test_detectors_are_asked_about_fewer_units_and_compare_with_fewer(some: Workbench) -> None:
    detector = Among()
    natural, judged, columns = run(some, forge(some, Identity(), None, "oblivious", 0, Meter()), detector)
    logits = some.among("logits", some.models["fashion-tiny"])
    assert logits is not None
    pooled = [(unit, siblings) for unit, siblings in detector.asked if unit.layer == "logits"]
    for unit, siblings in pooled:
        assert [s.index for s in siblings] == sorted({*logits, unit.index})
    assert len(natural["calibration_clean"]) == len({*logits, 4})
    for case, suspicion in zip(some.cases, judged["suspicion"].tolist(), strict=True):
        numbers = sorted({*(some.among(case.unit.layer, some.models[case.victim]) or ()), case.unit.index})
        median = torch.tensor(numbers).median()
        assert suspicion == abs(case.unit.index - median.item())
    assert columns["detected"]


def test_others_that_moved_are_those_that_are_looked_at(some: Workbench) -> None:
    forgery = forge(some, Identity(), None, "oblivious", 0, Meter())
    scorer = make_scorer(some)
    asked: list[int] = []
    show = scorer._clean_images
    scorer._clean_images = lambda victim, units, seeds: (  # type: ignore[method-assign]
        asked.append(len(units)) or show(victim, units, seeds)  # type: ignore[func-returns-value]
    )
    assert scorer._others_moved(forgery) == pytest.approx([0, 0, 0], abs=1e-6)
    assert asked and max(asked) <= 3


def test_judging_a_hardening_is_the_same_whichever_units_are_looked_at(
    bench: Workbench, some: Workbench
) -> None:
    forgery = forge(bench, Identity(), None, "oblivious", 0, Meter())
    every, few = (run(task, forgery, NoDefense())[1]["images"] for task in (bench, some))
    assert torch.equal(every, few) and every.shape[1] == SEEDS


@pytest.mark.parametrize("siblings", [0, -1, 2.5, "all"])
def test_odd_numbers_of_siblings_are_refused(siblings: object) -> None:
    with pytest.raises((TaskError, ValueError), match="siblings"):
        made(**{**FIELDS, "siblings": siblings})
