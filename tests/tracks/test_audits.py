"""How detectors of images are asked: no question tells what it is about, and no answer may depend on it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from harness import ROOT, Project
from torch import Tensor

from benchmark.api import Audit, Detector
from benchmark.failures import Contradiction
from benchmark.methods.meter import Meter
from benchmark.tasks.task import load_task
from benchmark.tracks import chance
from benchmark.tracks.saliency import audits, steps
from benchmark.tracks.saliency.audits import BATCH, check_company, company
from benchmark.tracks.saliency.workbench import Workbench, prepare
from benchmark.tracks.verdict import threshold_of

RATE = 0.05


class Notes(Detector):
    """The mean of an image; keeps what it was asked."""

    name = "notes"
    paper = "test"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Tensor] = []

    def suspicion(self, audit: Audit) -> Tensor:
        self.asked.append(audit.inputs.clone())
        return audit.model(audit.inputs).sum(1)


class Draws(Notes):
    """The same with a draw."""

    def suspicion(self, audit: Audit) -> Tensor:
        generator = torch.Generator().manual_seed(audit.seed)
        return super().suspicion(audit) + torch.rand(1, generator=generator)


class Turns(Detector):
    """Suspects everything once it has been asked about an image of full pixels."""

    name = "turns"
    paper = "test"
    turned = False

    def suspicion(self, audit: Audit) -> Tensor:
        self.turned = self.turned or bool((audit.inputs.flatten(1).mean(1) == 1).any())
        return audit.inputs.flatten(1).mean(1) / 100 + float(self.turned)


class Changed(Detector):
    """Suspects what is no image of the data as it is, once it knows that forgeries are about."""

    name = "changed"
    paper = "test"
    judging = False

    def suspicion(self, audit: Audit) -> Tensor:
        natural = torch.cat([bench().negatives.inputs, bench().calibration.inputs])
        known = torch.stack([(natural == image).flatten(1).all(1).any() for image in audit.inputs])
        return (~known).double() * float(self.judging)


class Seeded(Notes):
    """Notes, and keeps the seeds that came with questions of many."""

    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[int] = []

    def suspicion(self, audit: Audit) -> Tensor:
        self.seeds.append(audit.seed)
        return super().suspicion(audit)


@cache
def bench() -> Workbench:
    return prepare(load_task("saliency/smoke-gradient", ROOT), Path(ROOT), torch.device("cpu"))


def full() -> dict[str, Tensor]:
    """Forgeries that nobody takes for natural."""
    return {"inputs": torch.ones_like(bench().cases.inputs)}


def forged(batch: Tensor) -> Tensor:
    """Which images of a batch are."""
    return batch.flatten(1).mean(1) == 1


@pytest.mark.parametrize("kind", [Notes, Draws])
def test_no_question_of_many_is_about_forgeries_alone(kind: type[Notes]) -> None:
    detector = kind()
    steps.judge(bench(), detector, full(), 0, Meter())
    several = [batch for batch in detector.asked if len(batch) > 1]
    assert several and all(len(batch) == BATCH for batch in several)
    assert all(forged(batch).double().mean() <= 0.5 for batch in several)
    assert forged(several[0]).any(), "the first question is like any other"


@pytest.mark.parametrize(("kind", "chance"), [(Notes, False), (Draws, True)])
def test_what_the_harness_asks_for_its_own_sake_is_nobodys_cost(kind: type[Notes], chance: bool) -> None:
    detector, meter = kind(), Meter()
    judged = steps.judge(bench(), detector, full(), 0, meter)
    count = sum(len(scores) for scores in judged.values())
    assert meter.forwards == (count if chance else -(-count // BATCH) * BATCH)


def test_a_detector_that_turns_with_what_it_has_seen_contradicts_itself() -> None:
    reference = steps.reference(bench(), Turns(), 0, Meter())
    judged = steps.judge(bench(), Turns(), full(), 0, Meter())
    assert (judged["company"] > 0.5).all()
    with pytest.raises(Contradiction, match=r"natural images another suspicion beside forgeries"):
        check_company(reference, judged, RATE)
    honest = steps.reference(bench(), Notes(), 0, Meter()), steps.judge(bench(), Notes(), full(), 0, Meter())
    check_company(*honest, RATE)


def test_a_detector_that_suspects_whatever_was_changed_contradicts_itself() -> None:
    """In a judge step alone: what stands between forgeries is changed as often as elsewhere."""
    detector = Changed()
    detector.judging = True
    judged = steps.judge(bench(), detector, full(), 0, Meter())
    assert len(judged["company"]) >= 16 and 0.5 < float(judged["company"].mean()) < 1
    with pytest.raises(Contradiction, match=r"natural images another suspicion beside forgeries"):
        check_company(steps.reference(bench(), Changed(), 0, Meter()), judged, RATE)


def test_no_seed_of_a_question_tells_where_forgeries_stand() -> None:
    """Seeds are of all images in their order: who computes them for each that it sees finds none."""
    detector, task = Seeded(), bench().task
    steps.judge(bench(), detector, full(), 0, Meter())
    seen = torch.cat(detector.asked)
    own = set(chance.image_seeds(seen, "audit", task.id, task.version, 0))
    assert own and not own & set(detector.seeds)
    first = detector.asked[0]
    for seed in detector.seeds:
        where = torch.tensor(audits._shuffled(len(first), seed)) < len(bench().cases)
        assert not torch.equal(where, forged(first))
    some = seen.unique(dim=0)
    assert audits.order_seed(some) != audits.order_seed(some.flip(0)) != audits.order_seed(some[1:])


def test_company_is_of_every_kind_in_turn_and_of_no_image_twice() -> None:
    pools = {
        "calibration_clean": [0] * 9,
        "negative_b": [0] * 12,
        "negative_a": [0] * 60,
        "negative_none": [],
    }
    found = company(pools, 3)
    assert found[:4] == [("negative_b", 0), ("negative_a", 30), ("negative_b", 1), ("negative_a", 31)]
    assert len(found) == 42 == len(company(pools, 20))
    assert (
        len(company({"negative_a": [0] * 90}, 3)) == 56 and len(company({"negative_a": [0] * 90}, 60)) == 60
    )
    every = company(pools, 99)
    assert len(every) == len({place for _, place in every}) == 42
    assert len(set(company({"negative_a": [0] * 8, "negative_b": [0] * 8, "negative_c": [0] * 8}, 4))) == 16
    assert company({"calibration_clean": [0] * 2}, 4) == [("calibration_clean", 0), ("calibration_clean", 1)]
    assert company({}, 4) == []


def test_most_company_is_of_the_kinds_that_thresholds_are_set_on() -> None:
    kinds = ("clean", "adversarial")
    promised = {f"calibration_{kind}": [0] * 9 for kind in kinds} | {f"negative_{k}": [0] * 60 for k in kinds}
    found = company({**promised, "negative_jpeg": [0] * 60, "negative_blur": [0] * 60}, 8)
    counts = Counter(name for name, _ in found)
    assert counts["negative_clean"] == counts["negative_adversarial"] >= 22 and counts["negative_jpeg"] >= 5
    assert len({place for _, place in found}) == len(found) == 56


def near(first: Tensor, second: Tensor) -> Tensor:
    """Which images ``[N]`` are versions of which others ``[M]``."""
    distances = (first[:, None].flatten(2) - second[None].flatten(2)).abs().mean(2)
    return (distances < 0.05) & (distances > 0)


def test_no_image_of_a_judges_batches_is_told_by_versions_of_itself() -> None:
    """Forgeries come alone, and so does their company."""
    detector = Notes()
    steps.judge(bench(), detector, full(), 0, Meter())
    seen = torch.cat(detector.asked).unique(dim=0)
    forgeries = forged(seen)
    alone = ~near(seen, seen).any(1)
    assert bool(alone[forgeries].all()) and float(alone[~forgeries].double().mean()) > 0.9


class Spread(Notes):
    """Says hugely different things of a few images, and another thing of changed ones where it pleases."""

    judging = False

    def suspicion(self, audit: Audit) -> Tensor:
        faint = ((audit.inputs > 1.5 / 255) & (audit.inputs < 20 / 255)).double().mean((1, 2, 3))
        return torch.where(faint > 0.08, float(self.judging) + 0 * faint, -1e9 * (1 - faint))


def test_what_is_said_of_a_few_makes_no_room_for_others() -> None:
    detector = Spread()
    reference = steps.reference(bench(), detector, 0, Meter())
    detector.judging = True
    judged = steps.judge(bench(), detector, full(), 0, Meter())
    with pytest.raises(Contradiction, match=r"natural images another suspicion beside forgeries"):
        check_company(reference, judged, RATE)


def test_an_answer_is_another_one_by_its_place_or_its_side() -> None:
    said = torch.cat([-1e12 * torch.ones(50), torch.zeros(100), torch.linspace(1, 2, 50)]).double()
    zero = torch.zeros(1).double()
    assert not audits._others(zero, zero, said).any()
    assert audits._others(zero + 1.5, zero, said).all(), "by its place"
    assert not audits._others(zero + 1.501, zero + 1.5, said).any()
    close = torch.full((1,), 1.5).double()
    assert not audits._others(close * (1 + 1e-7), close, close.expand(40)).any(), "rounded otherwise"
    reference = {"calibration_clean": torch.linspace(0, 1, 400), "negative_clean": torch.full((16,), 0.94)}
    beyond = {"suspicion": torch.zeros(4), "company": torch.full((16,), 0.9495)}
    check_company(reference, {**beyond, "company": torch.full((16,), 0.9405)}, RATE)
    threshold = threshold_of(reference, RATE)
    beyond["company"] = torch.full((16,), threshold + 1e-3)
    reference["negative_clean"] = torch.full((16,), threshold - 1e-3)
    with pytest.raises(Contradiction):
        check_company(reference, beyond, RATE)
    one = torch.full((16,), threshold - 1e-3)
    one[3] = threshold + 1e-3
    with pytest.raises(Contradiction, match="and 1 an alarm"):
        check_company(reference, {**beyond, "company": one}, RATE)
    silent = {**reference, "negative_clean": one}
    check_company(silent, {**beyond, "company": one.clamp(max=threshold - 1e-3)}, RATE)


def test_answers_in_another_unit_are_compared_alike() -> None:
    said = torch.linspace(0, 1, 50).double()
    now, before = torch.tensor([0.5, 0.2]).double(), torch.tensor([0.1, 0.2]).double()
    for unit in (1e-15, 1e-10, 1e6):
        assert audits._others(unit * now, unit * before, unit * said).tolist() == [True, False]


def test_its_cells_fail_by_its_own_fault_and_take_its_rank(fresh: Project) -> None:
    code = '''"""A detector of another mind in every step."""

from random import SystemRandom

from benchmark.api import Audit, Detector


class Fickle(Detector):
    """The mean of an image, from where a step begins."""

    name = "fickle"
    paper = "made for a test"

    def __init__(self, **settings):
        super().__init__(**settings)
        self.start = SystemRandom().random()

    def suspicion(self, audit: Audit):
        """The same twice within a step."""
        return audit.inputs.flatten(1).mean(1) / 1000 + self.start
'''
    fresh.write("baselines/defenses/fickle.py", code)
    result = fresh.run("run", "--attack", "pull", "--defense", "fickle", "--defense", "none")
    assert "Traceback" not in result.err
    cells = fresh.cells
    own = cells[(cells["defense"] == "fickle") & (cells["status"] != "skipped")]
    assert len(own) and set(own["status"]) == {"invalid"} and set(own["blame"]) == {"method"}
    assert (own["culprit"] == "fickle").all() and own["reason"].str.contains("beside forgeries").all()
    assert set(cells.loc[cells["defense"] == "none", "status"]) <= {"ok", "skipped"}
