"""A hardening shows judges what it has shown the attack that adapted to it, or its cell fails."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

import pytest
import torch
from cheating_case import SEEDWISE, Cheat, Faces
from harness import ROOT, Project
from torch import Tensor

from baselines.attacks.dombrowski import Dombrowski
from baselines.attacks.square_search import SquareSearch
from baselines.defenses.beta_smoothing import BetaSmoothing
from baselines.defenses.smoothgrad import SmoothGrad
from benchmark.api import Attack, Explainer, Hardening, Network, Query
from benchmark.failures import StepFailed
from benchmark.methods.answers import Answers, read, tensors_of
from benchmark.methods.meter import Meter
from benchmark.seeds import seed_of
from benchmark.tasks.task import load_task
from benchmark.tracks import chance
from benchmark.tracks.images import Images
from benchmark.tracks.saliency import adapting, steps
from benchmark.tracks.saliency.workbench import Workbench, prepare

QUERIES, GRADIENTS = SquareSearch(steps=12), Dombrowski(iterations=5)


@cache
def bench() -> Workbench:
    return prepare(load_task("saliency/smoke-gradient", ROOT), Path(ROOT), torch.device("cpu"))


class Liar(Cheat):
    """The explainer's maps, and for a judge those turned round."""

    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        maps = inner.explain(model, query)
        return maps.flip(2) if self.judged(query) else maps

    @abstractmethod
    def judged(self, query: Query) -> bool:
        """Whether it is a judge who asks."""


class BySeed(Liar):
    """By their size."""

    name = "by_seed"

    def judged(self, query: Query) -> bool:
        return query.seed >= 2**31


class ByOwnSeed(Liar):
    """By the rule that judges' seeds follow from images by."""

    name = "by_own_seed"

    def judged(self, query: Query) -> bool:
        task = bench().task
        (own,) = chance.image_seeds(query.inputs[:1], "judge", task.id, task.version, 0)
        return query.seed in (own, seed_of("another", own))


class ByProcess(Liar):
    """By whether anybody has asked for smoothed maps in the process."""

    name = "by_process"

    def judged(self, query: Query) -> bool:
        return not self.attacked


class Trembling(ByOwnSeed):
    """The same, with a little chance, so that no two maps are the same."""

    name = "trembling"

    def harden(self, explainer: Explainer) -> Explainer:
        return Noisy(explainer, self)


@dataclass(frozen=True)
class Noisy(Faces):
    """With a little chance."""

    def explain(self, model: Network, query: Query) -> Tensor:
        generator = torch.Generator().manual_seed(query.seed)
        maps = super().explain(model, query)
        return maps * (1 + 1e-4 * torch.rand(maps.shape[1:], generator=generator).to(maps))


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    ByProcess.attacked = False


def forged(hardening: Hardening, attack: Attack = QUERIES) -> dict[str, Tensor]:
    made = steps.forge(bench(), attack, hardening, "adaptive", 0, Meter())
    ByProcess.attacked = False  # a step has a process of its own
    return made


@pytest.mark.parametrize("kind", [BySeed, ByOwnSeed, ByProcess, Trembling])
def test_who_tells_judges_from_attacks_is_found_and_blamed(kind: type[Liar]) -> None:
    made = forged(kind(), GRADIENTS if kind is ByProcess else QUERIES)
    with pytest.raises(
        StepFailed, match=r"showed the attack that adapts to it other maps of \d+ of \d+"
    ) as found:
        steps.judge(bench(), kind(), made, 0, Meter())
    assert (found.value.status, found.value.blame, found.value.culprit) == ("invalid", "method", kind.name)


@pytest.mark.parametrize("hardening", [BetaSmoothing(), SmoothGrad()])
def test_honest_ones_are_judged_as_without_asking(hardening: Hardening) -> None:
    made = forged(hardening)
    assert len(made["asked"]) == len(made["answered"]) == 8 + len(bench().cases)
    plain = steps.judge(bench(), hardening, {"inputs": made["inputs"]}, 0, Meter())["maps"]
    assert torch.allclose(steps.judge(bench(), hardening, made, 0, Meter())["maps"], plain, atol=1e-7)


def test_answers_are_nobody_elses() -> None:
    """A forgery is judged under other hardenings, too, and made against none."""
    made = forged(BySeed())
    assert adapting.Told.of(made, BySeed().variant, bench().cases.inputs) is not None
    assert adapting.Told.of(made, ByOwnSeed().variant, bench().cases.inputs) is None
    oblivious = steps.forge(bench(), QUERIES, None, "oblivious", 0, Meter())
    assert set(oblivious) == {"inputs"}


def test_maps_that_are_the_same_everywhere_agree_with_themselves() -> None:
    flat, other = torch.ones(4, 4) / 16, torch.rand(4, 4)
    assert adapting._agreement(flat, flat.clone()) == 1 and adapting._agreement(flat, other) == 0


@pytest.mark.parametrize("count", [1, 4, 8, 16])
def test_an_honest_hardening_with_chance_is_refused_once_in_ten_thousand_runs(count: int) -> None:
    """How many of independent answers are the furthest is binomial with one in nine, whatever the noise."""
    generator = torch.Generator().manual_seed(count)
    runs = 400
    maps = torch.rand((runs, count, 9, 5, 5), generator=generator) ** 3
    furthest = [[adapting._furthest(one[:1], one[1:]) for one in run] for run in maps]
    share = sum(map(sum, furthest)) / (runs * count)
    assert abs(share - 1 / 9) < 5 * (8 / 81 / (runs * count)) ** 0.5
    limit = adapting._too_many(count)
    draws = torch.distributions.Binomial(count, torch.tensor(1 / 9)).sample((200_000,))
    assert float((draws >= limit).double().mean()) < 3e-4
    assert count < 8 or limit <= count, "enough answers can be refused"


def test_what_is_kept_is_drawn_evenly_from_all_questions() -> None:
    found = torch.zeros(40)
    for _ in range(600):
        answers = Answers()
        for number in range(40):
            image = torch.full((1, 1, 2, 2), float(number))
            answers.note(Query(image, torch.tensor([number])), image[:, 0], draws=number)
        assert len(answers.kept) == 8
        for one in answers.kept:
            assert one.label == one.draws == int(one.image[0, 0, 0]) == int(one.map[0, 0])
            found[one.label] += 1
    assert (found - 120).abs().max() < 5.5 * (600 * 0.2 * 0.8) ** 0.5


def test_what_a_stored_forgery_holds_is_answers_or_left_out() -> None:
    answers = Answers()
    image = torch.rand(2, 1, 3, 3)
    answers.note(Query(image, torch.tensor([1, 2])), image[:, 0], 4)
    sent = tensors_of(answers.kept)
    (back,) = read(sent)
    assert torch.equal(back.image[0], back.map) and (back.label, back.draws) in ((1, 4), (2, 4))
    for wrong in (
        None,
        {},
        {**sent, "asked": None},
        {**sent, "asked": sent["asked"][:, 0]},
        {**sent, "answered": sent["answered"].repeat(2, 1, 1)},
        {**sent, "asked_labels": torch.tensor(3)},
    ):
        assert read(wrong) == []
    many = {name: torch.cat([value] * 40) for name, value in sent.items()}
    assert len(read(many)) == 16


def test_what_is_no_number_is_another_map() -> None:
    """A hardening that says nothing of use when it is asked at last has told something else."""
    answers = Answers()
    image = torch.rand(2, 1, 3, 3)
    for _ in range(4):
        answers.note(Query(image, torch.tensor([1, 2])), image[:, 0] * float("nan"))
    answers.note(Query(image * float("nan"), torch.tensor([1, 2])), image[:, 0])
    kept = read(tensors_of(answers.kept))
    assert len(kept) == 4 and all(one.map.isnan().all() for one in kept)
    images = Images(torch.stack([one.image for one in kept]), torch.tensor([one.label for one in kept]))
    told = adapting.Told(images, [0] * 4, torch.stack([one.map for one in kept]))
    shown = images.inputs[:, 0]
    with pytest.raises(StepFailed, match=r"4 of 4 images"):
        adapting.check(told, shown, lambda draws: lambda asked, seed: asked.inputs[:, 0], [1] * 4, "silent")


def test_answers_about_another_network_are_nobodys_fault() -> None:
    network, image = torch.nn.Linear(3, 3), torch.rand(1, 1, 3, 3)
    answers = Answers().about(network)
    query = Query(image, torch.tensor([1]))
    answers.note(query, image[:, 0], model=network)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.weight.mul_(2)
    answers.note(query, image[:, 0], model=other)
    answers.note(query, image[:, 0], model=copy.deepcopy(network))
    assert len(answers.kept) == 2 and answers.seen == 3


class Odd(torch.nn.Module):
    """A network with every kind of state: counters of no dimension, truth values, halves, nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(2)
        self.halves = torch.nn.Parameter(torch.rand(3).half())
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("none", torch.zeros(0, 2))
        self.register_buffer("turned", torch.rand(2, 3).T)


@pytest.mark.parametrize("name", list(Odd().state_dict()))
def test_a_network_of_any_state_is_told_from_another(name: str) -> None:
    network, image = Odd(), torch.rand(1, 1, 3, 3)
    query = Query(image, torch.tensor([1]))
    answers = Answers().about(network)
    answers.note(query, image[:, 0], model=copy.deepcopy(network))
    assert len(answers.kept) == 1
    other = copy.deepcopy(network)
    value = other.state_dict()[name]
    with torch.no_grad():
        value.copy_(~value if value.dtype == torch.bool else value + 1)
    answers.note(query, image[:, 0], model=other)
    assert len(answers.kept) == (2 if name == "none" else 1)


def test_check_compares_with_what_the_judge_is_shown() -> None:
    """Also where other seeds than the judge's show what the attack was told."""
    images = Images(torch.rand(4, 1, 5, 5), torch.zeros(4, dtype=torch.long))
    maps = torch.rand(4, 5, 5)
    told = adapting.Told(images, [0] * 4, maps)

    def ask(draws: int) -> chance.Ask:
        def same(asked: Images, seed: int) -> Tensor:
            where = [int((images.inputs == one).flatten(1).all(1).nonzero()[0, 0]) for one in asked.inputs]
            return cast("Tensor", maps[where])

        return same

    adapting.check(told, maps, ask, [1, 2, 3, 4], "honest")
    moved = torch.cat([maps[:3].flip(2), maps[3:]])
    with pytest.raises(StepFailed, match=r"3 of 4 images than it shows a judge"):
        adapting.check(told, moved, ask, [1, 2, 3, 4], "liar")


def test_a_confined_liar_is_found_as_well(fresh: Project) -> None:
    fresh.write("baselines/defenses/seedwise.py", SEEDWISE)
    result = fresh.run(
        "run", "--attack", "pull", "--defense", "seedwise", "--defense", "none", "--confine", "all"
    )
    assert "Traceback" not in result.err
    cells = fresh.cells
    own = cells[(cells["defense"] == "seedwise") & (cells["mode"] == "adaptive")]
    own = own[own["status"] != "skipped"]
    assert len(own) and set(own["status"]) == {"invalid"} and set(own["culprit"]) == {"seedwise"}
    assert own["reason"].str.contains("showed the attack that adapts to it other maps").all()
