"""Activations are smoothed however they are spelt, and kinks that no smoothing replaces are told."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from family_subjects import drawn, own_gradient
from torch import Tensor, nn
from torch.nn import functional

from benchmark.explainers import Gradient, Query
from benchmark.network import Gate, Network, Softplus
from benchmark.network.kinks import kinks_left, told_of_kinks
from benchmark.network.opaque import opaque
from benchmark.network.operations import Operation
from benchmark.network.walks import any_way, captured, traced

SIZE = (3, 6, 8)
BETA = 5.0
Function = Callable[[Tensor], Tensor]


def smooth(values: Tensor) -> Tensor:
    return functional.softplus(values, BETA)


def leaky(slope: float) -> Function:
    return lambda values: slope * values + (1 - slope) * smooth(values)


def between(values: Tensor) -> Tensor:
    return smooth(values) - smooth(values - 0.5)


def shrunk(values: Tensor) -> Tensor:
    return values + 0.2 - smooth(values + 0.2) + smooth(values - 0.2)


SPELLINGS: dict[str, tuple[Function, Function]] = {
    "clip": (lambda v: v.clip(min=0), smooth),
    "clip, two ends": (lambda v: torch.clip(v, 0.0, 0.5), between),
    "maximum": (lambda v: torch.maximum(v, torch.zeros_like(v)), smooth),
    "maximum of a number": (lambda v: torch.max(v, torch.tensor(0.0)), smooth),
    "max of a line": (lambda v: torch.max(v, 0.1 * v), leaky(0.1)),
    "minimum": (lambda v: -torch.minimum(-v, torch.zeros_like(v)), smooth),
    "clamp of a line": (lambda v: torch.max(0.3 - v, v * 0.0), lambda v: smooth(0.3 - v)),
    "where": (lambda v: torch.where(v > 0, v, 0.0), smooth),
    "where, leaky": (lambda v: torch.where(v >= 0, v, v / 10), leaky(0.1)),
    "where, the other way": (lambda v: torch.where(torch.gt(torch.zeros_like(v), v), 0.1 * v, v), leaky(0.1)),
    "where, at its end": (lambda v: torch.where(v < 0.5, v, 0.5), lambda v: v - smooth(v - 0.5)),
    "where, a line above": (lambda v: torch.where(v > 0.2, 2 * v - 0.2, v), lambda v: v + smooth(v - 0.2)),
    "where, lines alone": (lambda v: torch.where(v > 0, 2.0 * v, v / 2), lambda v: v / 2 + 1.5 * smooth(v)),
    "where not": (lambda v: torch.where(~(v > 0), torch.zeros_like(v), v), smooth),
    "a mask": (lambda v: v * (v > 0), smooth),
    "a mask of numbers": (lambda v: (v > 0).to(v) * v, smooth),
    "filled": (lambda v: v.masked_fill(v < 0, 0.0), smooth),
    "threshold": (lambda v: functional.threshold(v, 0.1, 0.1), lambda v: 0.1 + smooth(v - 0.1)),
    "absolute": (lambda v: (v + v.abs()) / 2, smooth),
    "absolute, alone": (lambda v: abs(v), lambda v: smooth(v) + smooth(-v)),
    "softshrink": (lambda v: functional.softshrink(v, 0.2), shrunk),
}
"""Each with what a softplus makes of it."""
BY_CAPTURE_ALONE = ("maximum of a number",)  # torch.fx takes no constants
BY_TRACE_ALONE = ("softshrink",)  # torch.export opens it into a choice by an absolute value and signs


class Called(nn.Module):
    """A function, twice, between layers."""

    def __init__(self, call: Function) -> None:
        super().__init__()
        self.call = call
        self.first, self.second, self.last = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3), nn.Linear(5, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.call(self.second(self.call(self.first(inputs))))
        out: Tensor = self.last(values.mean((2, 3)))
        return out


def subject(module: nn.Module, way: Callable[[nn.Module, Any], list[Operation]]) -> tuple[Network, Query]:
    module = drawn(module).double().eval().requires_grad_(False)
    images = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    return Network(module, operations=way(module, SIZE)).double(), Query(images, torch.tensor([0, 3, 1]))


def ways() -> list[Any]:
    pairs = [(name, way) for name in SPELLINGS for way in (traced, captured, opaque)]
    left_out = [(name, traced) for name in BY_CAPTURE_ALONE] + [(name, captured) for name in BY_TRACE_ALONE]
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1].__name__}") for pair in pairs if pair not in left_out]


@pytest.mark.parametrize(("name", "way"), ways())
def test_a_spelling_is_smoothed_as_what_it_is(name: str, way: Any) -> None:
    call, stand_in = SPELLINGS[name]
    module = Called(call)
    network, query = subject(module, way)
    assert kinks_left(network.operations) == ()
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))
    with torch.no_grad():
        assert torch.equal(
            network.propagate(query.inputs, Gate(BETA))[-1], network.propagate(query.inputs)[-1]
        )
    module.call = stand_in
    expected = own_gradient(module, query)
    torch.testing.assert_close(Gradient(Softplus(BETA)).relevance(network, query), expected)


@pytest.mark.parametrize("way", [traced, captured])
@pytest.mark.parametrize("name", ["maximum", "a mask", "where", "clip"])
def test_a_gate_of_a_spelling_is_a_rectifiers(name: str, way: Any) -> None:
    network, query = subject(Called(SPELLINGS[name][0]), way)
    plain, _ = subject(Called(torch.relu), way)
    maps = [Gradient(Gate(BETA)).relevance(one, query) for one in (network, plain)]
    torch.testing.assert_close(*maps)


@pytest.mark.parametrize("name", ["clip", "maximum", "where, leaky", "a mask", "filled", "absolute, alone"])
def test_on_a_kink_the_slope_is_autograds(name: str) -> None:
    places = torch.tensor([-1.0, 0.0, 1.0, 0.5] * 3, dtype=torch.double).view(1, 1, 3, 4)
    module = Alone(SPELLINGS[name][0]).double().eval().requires_grad_(False)
    network = Network(module, operations=any_way(module, (1, 3, 4))).double()
    query = Query(places, torch.tensor([1]))
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))


class Alone(nn.Module):
    """A function of the pixels."""

    def __init__(self, call: Function) -> None:
        super().__init__()
        self.call, self.last = call, nn.Linear(12, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.last(self.call(inputs.flatten(1)))
        return out


class Branches(nn.Module):
    """The larger, or the smaller, of two branches."""

    def __init__(self, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.call, self.bound = call, nn.Parameter(torch.randn(1, 5, 1, 1))
        self.first, self.second, self.last = nn.Conv2d(3, 5, 3), nn.Conv2d(3, 5, 3), nn.Linear(5, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.call(self.first(inputs), self.second(inputs))
        out: Tensor = self.last(values.mean((2, 3)))
        return out


def larger(first: Tensor, second: Tensor) -> Tensor:
    return second + smooth(first - second)


EXTREMES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "maximum": (torch.maximum, larger),
    "max": (torch.max, larger),
    "minimum": (torch.minimum, lambda a, b: b - smooth(b - a)),
    "one clamped by another": (lambda a, b: a.clamp(max=b), lambda a, b: b - smooth(b - a)),
    "of a branch and its average": (
        lambda a, b: torch.maximum(a, b.mean((2, 3), keepdim=True)),
        lambda a, b: larger(a, b.mean((2, 3), keepdim=True)),
    ),
}


@pytest.mark.parametrize("way", [traced, captured, opaque])
@pytest.mark.parametrize("name", EXTREMES)
def test_the_larger_of_two_values_is_smoothed(name: str, way: Any) -> None:
    call, stand_in = EXTREMES[name]
    module = Branches(call)
    network, query = subject(module, way)
    assert kinks_left(network.operations) == ()
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))
    module.call = stand_in
    torch.testing.assert_close(
        Gradient(Softplus(BETA)).relevance(network, query), own_gradient(module, query)
    )


def test_a_bound_that_is_learnt_is_read_when_it_is_used() -> None:
    module = Branches(lambda a, b: torch.minimum(a, module.bound))
    network, query = subject(module, captured)
    with torch.no_grad():
        module.bound.add_(0.3)
    torch.testing.assert_close(network.propagate(query.inputs)[-1], module(query.inputs))
    module.call = lambda a, b: module.bound - smooth(module.bound - a)
    torch.testing.assert_close(
        Gradient(Softplus(BETA)).relevance(network, query), own_gradient(module, query)
    )


def test_a_spelling_whose_parts_are_read_elsewhere_leaves_them_there() -> None:
    module = Called(lambda v: torch.max(v, u := 0.1 * v) * 0.5 + u)
    network, query = subject(module, captured)
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))
    module.call = lambda v: leaky(0.1)(v) * 0.5 + 0.1 * v
    torch.testing.assert_close(
        Gradient(Softplus(BETA)).relevance(network, query), own_gradient(module, query)
    )


STEPS: dict[str, tuple[Function, str]] = {
    "a threshold with a step": (lambda v: functional.threshold(v, 0.3, 0.0), "threshold"),
    "a mask with a step": (lambda v: v * (v > 0.3), "gt"),
    "rounded": (lambda v: torch.round(v * 4) / 4 + v, "round"),
    "by signs": (lambda v: v.sign() * v, "sign"),
    "a choice of other functions": (lambda v: torch.where(v > 0, v, torch.exp(v) - 1), "gt"),
    "halves, the larger one": (lambda v: torch.stack([v, 0.5 * v + 0.1], 1).amax(1), "amax"),
}


@pytest.mark.parametrize("way", [captured, opaque])
@pytest.mark.parametrize("name", STEPS)
def test_kinks_that_no_smoothing_replaces_are_told(name: str, way: Any) -> None:
    """Such a network would look robust without a word."""
    call, told = STEPS[name]
    network, query = subject(Called(call), way)
    assert told in [kind.partition(" ")[0] for kind in kinks_left(network.operations)]
    with pytest.warns(UserWarning, match=f"no smoothing replaces: .*{told}"):
        Gradient(Softplus(BETA)).relevance(network, query)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Gradient().relevance(network, query)


@pytest.mark.parametrize(
    "call",
    [
        lambda v: functional.max_pool2d(torch.relu(v), 2, 1, 1),
        lambda v: torch.relu(v).masked_fill(torch.ones(1, 1, 1, 1, dtype=torch.bool).tril(), 0.5),
        lambda v: torch.where(torch.eye(v.shape[-1]).bool()[0], v, 0.0).relu(),
        lambda v: functional.normalize(functional.gelu(v)),
    ],
)
@pytest.mark.parametrize("way", [any_way, opaque])
def test_of_networks_whose_kinks_are_smoothed_nothing_is_told(call: Function, way: Any) -> None:
    network, _ = subject(Called(call), way)
    assert told_of_kinks(network.operations) == ""


class Frequencies(nn.Module):
    """A residual branch through frequencies, with rectifiers on both sides of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (
            nn.Conv2d(3, 5, 3),
            nn.Conv2d(5, 5, 3, padding=1),
            nn.Linear(5, 4),
        )
        self.filter, self.call = nn.Parameter(torch.randn(5, 4, 4, 2)), torch.relu

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.call(self.first(inputs))
        waves = torch.fft.rfft2(values, norm="ortho") * torch.view_as_complex(self.filter)
        branch = torch.fft.irfft2(waves, s=values.shape[-2:], norm="ortho")
        values = values + self.call(self.second(self.call(branch)))
        out: Tensor = self.last(values.mean((2, 3)))
        return out


def test_rectifiers_behind_complex_values_are_smoothed() -> None:
    module = Frequencies()
    network, query = subject(module, captured)
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))
    module.call = smooth  # type: ignore[assignment]
    torch.testing.assert_close(
        Gradient(Softplus(BETA)).relevance(network, query), own_gradient(module, query)
    )
