"""Hardenings of global explainers show of forged networks what is made by the procedures that they tell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import pytest
import signature_case
import torch
import visualization_case
from hypothesis import given
from hypothesis import strategies as st
from signature_case import Hardens
from torch import Tensor

from baselines.controls.contentless_networks import SeededNoise
from baselines.defenses.consensus import ConsensusOfProcedures
from benchmark.api import (
    ClassExplainer,
    FeatureVisualization,
    Hardening,
    InputAgnosticSaliency,
    Network,
    Unit,
    Visualizer,
)
from benchmark.explainers.visualization import Fourier, MagnitudeConstrained, Pixel, Transformations
from benchmark.failures import StepFailed
from benchmark.methods.meter import Meter
from benchmark.tracks.procedures import LIKE, likeness, told_by
from benchmark.tracks.signature import steps as on_signature
from benchmark.tracks.visualization import steps as on_visualization

Tensors = dict[str, Tensor]
BIAS = "classifier.2.bias"
VICTIMS = ("fashion-tiny", "fashion-small", "fashion-mini-1", "fashion-mini-2")


@cache
def own_biases() -> tuple[Tensor, ...]:
    """The last biases of the project's networks, which tell them from forged ones."""
    networks = [visualization_case.network(name) for name in VICTIMS]
    return tuple(found.module.state_dict()[BIAS] for found in networks)


def forged_only(change: Callable[[Tensor], Tensor]) -> Callable[[Network, Tensor], Tensor]:
    """Changes pictures of forged networks and no others."""

    def apply(model: Network, shown: Tensor) -> Tensor:
        bias = model.module.state_dict()[BIAS]
        return shown if any(torch.equal(bias, own) for own in own_biases()) else change(shown)

    return apply


@dataclass(frozen=True)
class Pictures(Visualizer):
    """Pictures changed by a function of them and of the network that they are of."""

    inner: FeatureVisualization
    change: Callable[[Network, Tensor], Tensor]
    told: Any = None
    name: str = "pictures"

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        return self.change(model, self.inner.explain(model, units, seeds))

    def procedures(self) -> Any:
        return (self.inner,) if self.told is None else self.told

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        return self.inner.attainable(model, target)


@dataclass(frozen=True)
class Maps(ClassExplainer):
    """The same of maps of classes."""

    inner: InputAgnosticSaliency
    change: Callable[[Network, Tensor], Tensor]
    told: Any = None
    name: str = "maps"

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        return self.change(model, self.inner.explain(model, classes, seed))

    def procedures(self) -> Any:
        return (self.inner,) if self.told is None else self.told


def flipped(shown: Tensor) -> Tensor:
    """Upside down."""
    return shown.flip(-2)


def later(shown: Tensor) -> Tensor:
    """Upside down from all seeds but those that learned metrics look at, ``[U, S, C, H, W]``."""
    first = visualization_case.SOME_SEEDS
    return torch.cat([shown[:, :first], shown[:, first:].flip(-2)], 1)


def slightly(shown: Tensor) -> Tensor:
    """A little of it."""
    return 0.9 * shown + 0.1 * shown.flip(-1)


def as_is(model: Network, shown: Tensor) -> Tensor:
    """What is shown."""
    return shown


class Subclass(FeatureVisualization):
    """An optimization with code of its own."""


class Shifted(Pixel):
    """Other pixels for whoever trains a network, who would train it for what is never run."""

    def decode(self, model: Network, parameters: Tensor) -> Tensor:
        trained = any(weight.requires_grad for weight in model.module.parameters())
        return super().decode(model, parameters if trained else parameters + 1.0)


def shadowed(explainer: Any, change: Callable[[Network, Tensor], Tensor]) -> Any:
    """The procedure itself, by its class and settings, that shows something else."""
    told = replace(explainer)
    own = type(told).explain
    object.__setattr__(told, "explain", lambda model, *rest: change(model, own(told, model, *rest)))
    return told


ON_VISUALIZATION: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another picture where it is forged": (
        lambda e: Pictures(e, forged_only(flipped)),
        "other optimizations",
    ),
    "another picture from later seeds": (lambda e: Pictures(e, forged_only(later)), "other optimizations"),
    "nothing told": (lambda e: Pictures(e, as_is, ()), "procedures() must return FeatureVisualization"),
    "no tuple": (lambda e: Pictures(e, as_is, 3), "procedures() must return FeatureVisualization"),
    "more told than attacks follow": (lambda e: Pictures(e, as_is, (e,) * 9), "9, and at most 8 may be told"),
    "code of its own": (lambda e: Pictures(e, as_is, (Subclass(e.size),)), "procedures() must return"),
    "an instance's own code": (
        lambda e: Pictures(e, forged_only(flipped), (shadowed(e, forged_only(flipped)),)),
        "other optimizations",
    ),
    "a part with code of its own": (
        lambda e: Pictures(e, as_is, (replace(e, parametrization=Shifted()),)),
        "not of a Shifted",
    ),
    "what is told": (lambda e: Pictures(e, as_is), ""),
    "nearly what is told": (lambda e: Pictures(e, forged_only(slightly)), ""),
    "one of two that are told": (lambda e: Pictures(e, as_is, (replace(e, spread=0.5), e)), ""),
    "the project's own": (lambda e: replace(e, spread=0.5), ""),
    "the median of three": (lambda e: ConsensusOfProcedures().harden(e), ""),
}


@pytest.mark.parametrize("name", ON_VISUALIZATION)
def test_pictures_of_forged_networks_come_from_what_is_told(name: str) -> None:
    bench, harden, reason = visualization_case.made(pools=None), *ON_VISUALIZATION[name]
    forgery = moved(
        {
            f"{index}/{key}": value
            for index, case in enumerate(bench.cases)
            for key, value in bench.models[case.victim].module.state_dict().items()
        }
    )
    hardening = Hardens(harden)
    hardening.tracks = ("visualization",)
    judged(lambda: on_visualization.judge(bench, hardening, forgery, 0, Meter()), reason)


ON_SIGNATURE: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another map where it is forged": (lambda e: Maps(e, forged_only(flipped)), "other optimizations"),
    "an instance's own code": (
        lambda e: Maps(e, forged_only(flipped), (shadowed(e, forged_only(flipped)),)),
        "other optimizations",
    ),
    "nothing told": (lambda e: Maps(e, as_is, ()), "procedures() must return FeatureVisualization or Input"),
    "what is told": (lambda e: Maps(e, as_is), ""),
    "the project's own": (lambda e: replace(e, steps=2), ""),
}


@pytest.mark.parametrize("name", ON_SIGNATURE)
def test_maps_of_forged_networks_come_from_what_is_told(name: str) -> None:
    bench, harden, reason = signature_case.made(pools=None), *ON_SIGNATURE[name]
    forgery = moved(signature_case.forged_by(bench, signature_case.By(signature_case.unchanged)))
    judged(lambda: on_signature.judge(bench, Hardens(harden), forgery, 0, Meter()), reason)


def test_attacks_are_handed_procedures_made_anew() -> None:
    """Equal in all settings, of the project's own classes, and without what an instance has beside."""
    spectrum, transformations = torch.rand(1, 28, 15), Transformations(noise=0.1)
    for part in (Pixel(), Fourier(), MagnitudeConstrained(spectrum)):
        own = FeatureVisualization((1, 28, 28), part, "adam", 0.1, 7, 1.0, transformations, spectrum=spectrum)
        told = shadowed(own, as_is)
        (anew,) = told_by(Hardens(lambda e: e), Pictures(own, as_is, [told]))
        assert anew == own and anew is not told and "explain" not in vars(anew)
        assert type(anew.parametrization) is type(part) and torch.equal(anew.spectrum, spectrum)
    odd = replace(own, learning_rate=type("Rate", (float,), {})(0.1))
    (anew,) = told_by(Hardens(lambda e: e), Pictures(own, as_is, (odd,)))
    assert type(anew.learning_rate) is float


@dataclass(frozen=True)
class Late(Maps):
    """Tells what it runs once it has shown something, and before that what attacks are to follow."""

    ways: ClassVar[list[str]] = []

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        self.ways.append("shown")
        return super().explain(model, classes, seed)

    def procedures(self) -> Any:
        self.ways.append("told")
        return (self.inner,) if "shown" in self.ways else (replace(self.inner, steps=1, spread=5.0),)


def test_procedures_are_asked_for_before_anything_is_shown() -> None:
    """As attacks ask: what a hardening tells attacks is what is compared with what it shows."""
    bench = signature_case.made(pools=None)
    forgery = moved(signature_case.forged_by(bench, signature_case.By(signature_case.unchanged)))
    Late.ways.clear()
    judged(
        lambda: on_signature.judge(bench, Hardens(lambda e: Late(e, as_is)), forgery, 0, Meter()),
        "hands attacks other optimizations",
    )
    assert Late.ways[0] == "told" and "shown" in Late.ways


def test_controls_show_what_they_like() -> None:
    """They are the project's own, and there to be without content."""
    bench = signature_case.made(pools=None)
    forgery = signature_case.forged_by(bench, signature_case.By(signature_case.unchanged))
    control: Hardening = SeededNoise()
    assert "maps" in on_signature.judge(bench, control, forgery, 0, Meter())


def moved(forgery: Tensors) -> Tensors:
    """A forgery whose last bias is moved, by which a network can be known."""
    return {key: value + 0.01 if key.endswith(BIAS) else value for key, value in forgery.items()}


def judged(judge: Callable[[], Tensors], reason: str) -> None:
    """Judges; where there is a reason it fails with that, and it is the hardening's fault."""
    if not reason:
        judge()
        return
    with pytest.raises(StepFailed) as found:
        judge()
    assert (found.value.status, found.value.blame, found.value.culprit) == ("invalid", "method", "hardens")
    assert reason in found.value.reason


@given(st.integers(0, 99), st.integers(1, 3), st.floats(0.1, 10), st.floats(-1, 1))
def test_likeness_is_that_of_the_nearest_whatever_its_scale(
    seed: int, count: int, scale: float, shift: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    made = torch.rand(count, 1, 2, 1, 8, 8, generator=generator)
    nearest = made[seed % count]
    torch.testing.assert_close(likeness(scale * nearest + shift, made), torch.ones(2, dtype=torch.float64))
    other = likeness(torch.rand(1, 2, 1, 8, 8, generator=generator), made)
    assert other.shape == (2,) and (other < LIKE).all()


def test_equal_pictures_are_alike_though_they_show_nothing() -> None:
    """A forged network can leave every picture as grey as it was."""
    grey = torch.full((1, 1, 1, 4, 4), 0.5)
    assert likeness(grey, grey[None]).tolist() == [1.0]
    assert likeness(grey, grey[None] + 0.1).tolist() == [0.0]
