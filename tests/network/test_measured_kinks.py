"""Kinks that no name tells are told: such a network would look robust without a word."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from family_subjects import drawn
from torch import Tensor, nn
from torch.nn import functional

from benchmark.explainers import Gradient, Query
from benchmark.network import Network, Softplus
from benchmark.network.measured_kinks import measured_kinks
from benchmark.network.walks import captured

SIZE = (3, 8, 8)
Function = Callable[[Tensor], Tensor]


class Called(nn.Module):
    """A call between a convolution with a ReLU behind it and the logits."""

    def __init__(self, call: Function) -> None:
        super().__init__()
        self.call, self.first, self.last = call, nn.Conv2d(3, 6, 3), nn.LazyLinear(4)
        self.weight = nn.Parameter(torch.randn(6, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        values = self.call(self.first(images))
        out: Tensor = self.last(functional.relu(values.flatten(2)).mean(2))
        return out


class Recurrent(nn.Module):
    """Columns, one after the other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cell, self.last = nn.RNN(24, 6, nonlinearity=kind, batch_first=True), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.last(self.cell(images.permute(0, 3, 1, 2).flatten(2))[0][:, -1])
        return out


def walked(module: nn.Module) -> tuple[Network, Query]:
    with torch.no_grad():
        module.eval()(torch.rand(1, *SIZE))
    module = drawn(module).eval().requires_grad_(False)
    network = Network(module, [0.5] * 3, [0.25] * 3, captured(module, SIZE)).double()
    images = torch.rand(2, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    return network, Query(images, torch.tensor([1, 3]))


def maxout(values: Tensor) -> Tensor:
    return values.unflatten(1, (3, 2)).max(2).values


def sorted_pairs(values: Tensor) -> Tensor:
    return values.unflatten(1, (3, 2)).sort(2).values.flatten(1, 2)


BENDS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a recurrent network of ReLUs": (lambda: Recurrent("relu"), "rnn"),
    "sums of sizes": (
        lambda: Called(lambda v: torch.linalg.vector_norm(v, 1, 1, keepdim=True)),
        "vector_norm",
    ),
    "largest sizes": (
        lambda: Called(lambda v: torch.linalg.vector_norm(v, torch.inf, 1, True)),
        "vector_norm",
    ),
    "distances": (lambda: Called(lambda v: functional.l1_loss(v, 0.5 + 0 * v, reduction="none")), "l1_loss"),
    "maxout": (lambda: Called(maxout), "max"),
    "sorted channels": (
        lambda: Called(lambda v: v.unflatten(1, (3, 2)).sort(2).values.flatten(1, 2)),
        "sort",
    ),
    "cut down": (lambda: Called(lambda v: torch.div(v, 0.1, rounding_mode="floor") + v), "div"),
}


@pytest.mark.parametrize("name", BENDS)
def test_what_is_linear_wherever_it_is_and_bends_between_is_told(name: str) -> None:
    make, told = BENDS[name]
    network, query = walked(make())
    with pytest.warns(UserWarning, match=f"no smoothing replaces: .*{told}"):
        Gradient(Softplus(5.0)).relevance(network, query)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Gradient().relevance(network, query)


SMOOTH: dict[str, Callable[[], nn.Module]] = {
    "a recurrent network": lambda: Recurrent("tanh"),
    "a power": lambda: Called(lambda v: v.square() + v),
    "frequencies": lambda: Called(lambda v: torch.fft.ifft(torch.fft.fft(v)).real),
    "a matrix": lambda: Called(lambda v: v @ torch.ones(6, 6, dtype=v.dtype)),
    "a size": lambda: Called(lambda v: v / torch.linalg.vector_norm(v, 2, 1, keepdim=True)),
    "a pool": lambda: Called(lambda v: functional.max_pool2d(v, 2, 1)),
    "a pool by hand": lambda: Called(lambda v: v.unflatten(2, (3, 2)).amax(3)),
    "the largest of all places": lambda: Called(lambda v: v.amax((2, 3), keepdim=True)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_of_what_is_smooth_or_linear_and_of_pools_nothing_is_told(name: str) -> None:
    network, query = walked(SMOOTH[name]())
    values = network.propagate(network.normalize(query.inputs))
    assert measured_kinks(network, values) == ()
