"""Networks that nothing looks into: their activations are exchanged, and kinks that are left are told."""

from __future__ import annotations

import re
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
from benchmark.network.opaque import closed, opaque
from benchmark.network.walks import any_way, as_network

SIZE = (3, 6, 8)
BETA = 5.0
Function = Callable[[Tensor], Tensor]


class Called(nn.Module):
    """A function, twice, between layers."""

    def __init__(self, call: Function) -> None:
        super().__init__()
        self.call, self.scale = call, nn.Parameter(torch.tensor([0.7, -0.4, 0.5, 2.0, -1.0]))
        self.first, self.second, self.last = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3), nn.Linear(5, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.call(self.second(self.call(self.first(inputs))))
        out: Tensor = self.last(values.mean((2, 3)) * self.scale.abs().clamp(max=1.0))
        return out


def smooth(values: Tensor) -> Tensor:
    return functional.softplus(values, BETA)


def leaky(values: Tensor) -> Tensor:
    return 0.1 * values + 0.9 * smooth(values)


def subject(call: Function) -> tuple[Called, Network, Query]:
    module = drawn(Called(call)).double().eval().requires_grad_(False)
    images = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    network = Network(module, operations=opaque(module, SIZE)).double()
    return module, network, Query(images, torch.tensor([0, 3, 1]))


def changed(change: Callable[[Tensor], Any]) -> Function:
    """A function of a copy that it changes in place."""

    def call(values: Tensor) -> Tensor:
        own = values * 1.0
        change(own)
        return own

    return call


def times_mask(values: Tensor) -> None:
    values *= values > 0


def without_negatives(values: Tensor) -> None:
    values[values < 0] = 0


WRITTEN: dict[str, tuple[Function, Function]] = {
    "relu_": (changed(torch.relu_), smooth),
    "relu, in place": (changed(lambda v: functional.relu(v, inplace=True)), smooth),
    "leaky_relu_": (changed(lambda v: functional.leaky_relu_(v, 0.1)), leaky),
    "leaky_relu, in place": (changed(lambda v: functional.leaky_relu(v, 0.1, True)), leaky),
    "hardtanh_": (
        changed(lambda v: functional.hardtanh_(v, 0.0, 0.5)),
        lambda v: smooth(v) - smooth(v - 0.5),
    ),
    "hardtanh, all by position": (
        lambda v: functional.hardtanh(v, 0.0, 0.5, False),
        lambda v: smooth(v) - smooth(v - 0.5),
    ),
    "clamp_": (changed(lambda v: v.clamp_(min=0)), smooth),
    "clamp_min, by name": (lambda v: torch.clamp_min(v, min=0), smooth),
    "a mask": (changed(times_mask), smooth),
    "written by a mask": (changed(without_negatives), smooth),
    "filled": (changed(lambda v: v.masked_fill_(v < 0, 0.0)), smooth),
    "where, of a method": (lambda v: v.where(v > 0, torch.zeros_like(v)), smooth),
    "input by name": (lambda v: functional.relu(input=v), smooth),
    "threshold": (lambda v: nn.Threshold(0.0, 0.0)(v), smooth),
    "ATen's": (lambda v: torch.ops.aten.relu(v), smooth),
    "prelu's kernel": (
        lambda v: torch.ops.aten._prelu_kernel(v, torch.full((1, 1, 1, 1), 0.1, dtype=v.dtype)),
        leaky,
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_activations_are_exchanged_however_they_are_called(name: str) -> None:
    call, stand_in = WRITTEN[name]
    module, network, query = subject(call)
    assert kinks_left(network.operations) == ()
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))
    asked = Query(query.inputs.clone().requires_grad_(), query.labels)
    (slope,) = torch.autograd.grad(
        Gradient(Gate(BETA)).relevance(network, asked).square().sum(), asked.inputs
    )
    assert bool(slope.any())
    smoothed = Gradient(Softplus(BETA)).relevance(network, query)
    logits = network.propagate(query.inputs, Softplus(BETA))[-1]
    module.call = stand_in
    torch.testing.assert_close(smoothed, own_gradient(module, query))
    torch.testing.assert_close(logits, module(query.inputs))


class Rectifier(torch.autograd.Function):
    """With a derivative of its own."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return signals[0] * (values > 0)


def scripted() -> Function:
    call: Function = torch.jit.script(nn.ReLU())
    return call


def checked(values: Tensor) -> Tensor:
    assert bool(torch.isfinite(values).all())
    return torch.relu(values)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (scripted, "relu"),
        (lambda: Rectifier.apply, "clamp"),
        (lambda: lambda v: v.relu().index_put((v > 0.2,), torch.tensor(1.0).to(v)), "gt"),
        (lambda: lambda v: torch.stack([v, -v]).sort(0)[0][1], "sort"),
    ],
)
def test_what_cannot_be_exchanged_is_told(make: Callable[[], Function], told: str) -> None:
    module, network, query = subject(make())
    assert f"no smoothing replaces: {told} (network)" in told_of_kinks(network.operations)
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))


def test_what_logits_do_not_follow_from_is_not_told() -> None:
    for call in (
        checked,
        lambda v: functional.normalize(v.relu()) + functional.cosine_similarity(v, v)[:, None],
    ):
        _, network, _ = subject(call)
        assert kinks_left(network.operations) == ()


def test_calls_without_a_tensor_are_left_alone() -> None:
    def call(values: Tensor) -> Tensor:
        with torch.no_grad():
            offset = values.mean()
        return torch.relu(values - offset)

    module, network, query = subject(call)
    smoothed = Gradient(Softplus(BETA)).relevance(network, query)
    module.call = lambda v: smooth(v - v.mean().detach())
    torch.testing.assert_close(smoothed, own_gradient(module, query))


def doubled(values: Tensor) -> Tensor:
    first, second = torch.cat([values, values.flip(3)]).chunk(2)
    return first + second


def decided(values: Tensor) -> Tensor:
    return values.relu() if float(values.sum()) > -1e9 else values


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (doubled, "torch.export cannot follow the number of images in a batch through its code"),
        (decided, r"it stops at line \d+ of test_opaque.py, return values.relu\(\) if float"),
    ],
)
def test_why_nothing_can_look_into_a_network_is_said_in_a_clause(call: Function, reason: str) -> None:
    module = drawn(Called(call)).eval().requires_grad_(False)
    told = closed(any_way(module, SIZE))
    assert re.match(rf"nothing can look into this network \({reason}", told)
    assert len(told) < 200 and "\n" not in told


ASSERTED = """
def asserted(values):
    assert torch.isfinite(values).all()
    assert (values < 1e9).all(), "too large"
    return values.relu()
"""
SPACE: dict[str, Any] = {"torch": torch}
exec(ASSERTED, SPACE)  # pytest makes other code of asserts in its own files
asserted = SPACE["asserted"]


@pytest.mark.parametrize("call", [asserted, lambda v: v.relu().view(len(v), 5, *v.shape[2:])])
def test_asserts_of_values_and_the_batchs_length_are_no_obstacle(call: Function) -> None:
    module = drawn(Called(call)).double().eval().requires_grad_(False)
    network = as_network(module, SIZE)
    assert closed(network.operations) == ""
    query = subject(call)[2]
    torch.testing.assert_close(Gradient().relevance(network, query), own_gradient(module, query))
    assert "len" not in globals()
    with pytest.raises(AssertionError):
        asserted(torch.tensor([float("nan")]))
