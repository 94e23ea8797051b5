"""Hardenings of track fairwashing: held to the network that is judged, and to what they told an attack."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from cheating_case import Cheat
from fairwashing_case import forged, made
from network_case import By, Tensors
from torch import Tensor

from baselines.controls.contentless import Blank
from baselines.defenses.beta_smoothing import BetaSmoothing
from baselines.defenses.contrastive import Contrastive
from baselines.defenses.smoothgrad import SmoothGrad
from benchmark.api import Explainer, FairwashingCase, Forgery, Gate, Hardening, Network, Query
from benchmark.failures import StepFailed
from benchmark.methods.meter import Meter
from benchmark.tracks.fairwashing import holding
from benchmark.tracks.fairwashing.steps import forge, judge
from benchmark.tracks.fairwashing.workbench import Workbench
from benchmark.tracks.images import Images, predictions


@cache
def bench() -> Workbench:
    """One case, one network."""
    return made(cases=[{"picture": "ring-28"}])


def noised(case: FairwashingCase, weights: Tensors) -> Forgery:
    """Weights with a little noise."""
    generator = torch.Generator().manual_seed(0)
    return Forgery(
        weights={
            name: value + 0.1 * value.std() * torch.randn(value.shape, generator=generator)
            for name, value in weights.items()
        }
    )


class KnowsBetter(Cheat):
    """Explains the shipped network that the one handed is nearest to: here there is but one."""

    name = "knows_better"

    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        return inner.explain(bench().models["fashion-tiny"], query)


class PutsInOrder(Cheat):
    """The same, once it has found which row of the last layer is whose."""

    name = "puts_in_order"

    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        known = bench().models["fashion-tiny"]
        own, other = (list(one.module.state_dict().values())[-2] for one in (known, model))
        places = torch.cdist(other, own).argmin(1)
        return inner.explain(known, Query(query.inputs, places[query.labels], query.seed))


class Mixes(Cheat):
    """Half of each."""

    name = "mixes"

    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        known = inner.explain(bench().models["fashion-tiny"], query)
        return (known + inner.explain(model, query)) / 2


class ByAttack(Cheat):
    """Turns maps round until somebody has asked for smoothed ones in the process."""

    name = "by_attack"

    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        maps = inner.explain(model, query)
        return maps if self.attacked else maps.flip(2)


class BySeed(Cheat):
    """Turns maps round under seeds as judges have."""

    name = "by_seed"

    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        (own,) = bench().judge_seeds(query.inputs[:1], 0)
        maps = inner.explain(model, query)
        return maps.flip(2) if query.seed == own else maps


class CutsOff(Cheat):
    """Gives attacks nothing to follow."""

    name = "cuts_off"

    def shown(self, inner: Explainer, model: Network, query: Query) -> Tensor:
        return inner.explain(model, query).detach()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    Cheat.attacked = ByAttack.attacked = False


@pytest.mark.parametrize(
    ("cheat", "told"),
    [
        (KnowsBetter(), "with its classes in another order has other maps"),
        (Mixes(), "with its classes in another order has other maps"),
        (PutsInOrder(), r"whose weights are changed move by 0\.000"),
    ],
)
def test_who_answers_for_another_network_is_found_and_blamed(cheat: Hardening, told: str) -> None:
    with pytest.raises(
        StepFailed, match=f"does not explain the network that it is handed: .*{told}"
    ) as found:
        judge(bench(), cheat, forged(bench(), noised), 0, Meter())
    assert (found.value.status, found.value.blame, found.value.culprit) == ("invalid", "method", cheat.name)


@pytest.mark.parametrize(
    "honest",
    [Contrastive(), Contrastive(baseline="logsumexp"), BetaSmoothing(beta=1.0), SmoothGrad(samples=4)],
)
def test_honest_ones_are_judged(honest: Hardening) -> None:
    """Adapted to and not, the maps are the same."""
    adapted = forge(bench(), By(noised), honest, "adaptive", 0, Meter())
    maps = judge(bench(), honest, adapted, 0, Meter())["maps"]
    assert torch.equal(maps, judge(bench(), honest, forged(bench(), noised), 0, Meter())["maps"])


def test_controls_that_explain_no_network_are_not_asked() -> None:
    assert judge(bench(), Blank(), forged(bench(), noised), 0, Meter())["maps"].shape == (1, 6, 28, 28)


def following(case: FairwashingCase, weights: Tensors) -> Forgery:
    """Noise, once smoothed maps were asked for."""
    model = case.model.trainable_copy()
    case.explain(model, case.data[:2], case.labels[:2], Gate(30.0))
    return noised(case, weights)


@pytest.mark.parametrize("cheat", [ByAttack(), BySeed()])
def test_who_tells_judges_from_attacks_is_found_and_blamed(cheat: Cheat) -> None:
    adapted = forge(bench(), By(following), cheat, "adaptive", 0, Meter())
    Cheat.attacked = ByAttack.attacked = False  # a step has a process of its own
    with pytest.raises(
        StepFailed, match=r"showed the attack that adapts to it other maps of \d+ of 8"
    ) as found:
        judge(bench(), cheat, adapted, 0, Meter())
    assert (found.value.status, found.value.blame, found.value.culprit) == ("invalid", "method", cheat.name)


def test_what_was_told_is_kept_beside_the_forgery_and_is_nobody_elses() -> None:
    adapted = forge(bench(), By(noised), BySeed(), "adaptive", 0, Meter())
    told = {name for name in adapted if name.startswith("0/told/")}
    assert len(told) == 5 and len(adapted["0/told/asked"]) == 8
    plain = forged(bench(), noised)
    assert adapted.keys() - told == plain.keys()
    maps = [judge(bench(), Contrastive(), one, 0, Meter())["maps"] for one in (adapted, plain)]
    assert torch.equal(*maps)


def test_maps_that_attacks_cannot_follow_are_the_hardenings_failure() -> None:
    with pytest.raises(StepFailed, match="no gradient in the weights of a network that is trained") as found:
        forge(bench(), By(following), CutsOff(), "adaptive", 0, Meter())
    assert found.value.culprit == "cuts_off"


def test_a_renamed_network_says_the_same_by_other_names() -> None:
    model, images = bench().models["fashion-tiny"], bench().cases[0].images.inputs
    order = torch.tensor(holding._order(10))
    assert sorted(order.tolist()) == list(range(10)) and all(order != torch.arange(10))
    other = holding.renamed(model, order, images)
    assert other is not None
    assert torch.allclose(other(images), model(images)[:, order], atol=1e-5)
    assert torch.equal(order[predictions(other, images)], predictions(model, images))


@pytest.mark.parametrize("name", ["gradient", "grad_cam", "lrp"])
def test_a_shaken_network_has_other_maps(name: str) -> None:
    own = made(cases=[{"picture": "ring-28"}], explainer={"name": name})
    model, shown = own.models["fashion-tiny"], own.cases[0].images
    images = Images(shown.inputs, shown.labels)
    found = holding.shaken(model, images, own.explainer)
    if found is None:  # maps of some explainers follow the image more than the network
        assert name == "lrp"
        return
    query = Query(images.inputs, images.labels)
    maps: list[Any] = [own.explainer.explain(one, query) for one in (found[0], model)]
    assert holding.movement(*maps) == pytest.approx(found[1]) and found[1] >= 0.2
    before, after = model.module.state_dict(), found[0].module.state_dict()
    assert all(not torch.equal(after[key], value) for key, value in before.items())


def test_maps_that_stay_have_moved_nowhere() -> None:
    def maps(seed: int) -> Tensor:
        return torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(seed))

    assert holding.movement(maps(0), maps(0)) == 0 and holding.movement(maps(0), maps(1)) > 0.2
    flat = torch.ones(3, 4, 4)
    assert holding.movement(flat, maps(0)) == 0
