"""Layers that rules know: convolutions of all kinds, maxima of a side, patches put back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from family_subjects import drawn, own_gradient
from torch import Tensor, nn
from torch.nn import functional

from benchmark.explainers import Query, build_explainer
from benchmark.network import Network, Softplus
from benchmark.network.captured import CapturedAffine
from benchmark.network.hand_norms import NormalizeByHand
from benchmark.network.operations import Other
from benchmark.network.walks import any_way, captured

SIZE = (3, 8, 10)


class Between(nn.Module):
    """Something between two convolutions with rectifiers."""

    def __init__(self, call: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.call = call
        self.first, self.second, self.last = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6, 4)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, inputs: Tensor) -> Tensor:
        values = self.call(self, torch.relu(self.first(inputs)))
        values = torch.relu(self.second(values)).mean((2, 3)) if values.dim() == 4 else values
        out: Tensor = self.last(values)
        return out


def one_side(net: Any, values: Tensor) -> Tensor:
    return torch.relu(net.own(values.mean(2))).mean(2)


def own(net: Any, values: Tensor) -> Tensor:
    return torch.relu(net.own(values))


def put_back(net: Any, values: Tensor) -> Tensor:
    return functional.fold(functional.unfold(values, 3), values.shape[-2:], 3)


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "padding by name": lambda: Between(own, own=nn.Conv2d(6, 6, 3, padding="same", dilation=2)),
    "of a kernel of even size": lambda: Between(own, own=nn.Conv2d(6, 6, (2, 3), padding="same", groups=2)),
    "no padding by name": lambda: Between(own, own=nn.Conv2d(6, 6, 2, padding="valid")),
    "along one side": lambda: Between(one_side, own=nn.Conv1d(6, 6, 3, padding=1, stride=2, groups=3)),
    "transposed": lambda: Between(
        own, own=nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1, groups=2),
        second=nn.Conv2d(4, 6, 3),
    ),
    "transposed along one side": lambda: Between(one_side, own=nn.ConvTranspose1d(6, 6, 2, stride=2)),
    "the largest of a side": lambda: Between(lambda net, v: torch.relu(net.second(v)).flatten(2).max(-1)[0]),
    "the largest channel": lambda: Between(
        lambda net, v: torch.cat([v.max(1, keepdim=True).values, v], 1), second=nn.Conv2d(7, 6, 3)
    ),
    "patches put back": lambda: Between(put_back),
    "a state of zeros": lambda: Between(
        lambda net, v: torch.relu(0.9 * torch.zeros_like(v[:, :, 0]) + v[:, :, 1]).mean(-1)
    ),
    "times ones": lambda: Between(lambda net, v: torch.ones_like(v[:, :, 1:]) * v[:, :, :-1]),
    "times halves": lambda: Between(lambda net, v: torch.full_like(v[:, :1], 0.5) * v),
}  # fmt: skip


def subject(module: nn.Module, bias: bool, way: Any = captured) -> tuple[Network, Query]:
    module = drawn(module).double().eval().requires_grad_(False)
    for part in () if bias else module.modules():
        bias_of = getattr(part, "bias", None)
        if isinstance(bias_of, Tensor):
            nn.init.zeros_(bias_of)
    images = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(3), dtype=torch.double)
    return Network(module, operations=way(module, SIZE)).double(), Query(images, torch.tensor([0, 3, 1]))


@pytest.mark.parametrize("way", [captured, any_way])
@pytest.mark.parametrize("name", LAYERS)
def test_relevance_by_terms_is_gradient_times_input(name: str, way: Any) -> None:
    """Of rectifiers and layers without biases, but for the stabilizer."""
    network, query = subject(LAYERS[name](), bias=False, way=way)
    assert not any(isinstance(step, Other) for step in network.operations)
    explainer = build_explainer("lrp_epsilon", {"epsilon": 1e-10}, network, query.inputs.__getitem__)
    expected = own_gradient(network.module, query) * query.inputs
    torch.testing.assert_close(explainer.relevance(network, query), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", LAYERS)
def test_contributions_add_to_the_difference_and_guided_signals_pass(name: str) -> None:
    network, query = subject(LAYERS[name](), bias=True)
    explainer = build_explainer("deep_lift", {}, network, query.inputs.__getitem__)
    module = network.module
    change = module(query.inputs) - module(torch.zeros_like(query.inputs))
    added = explainer.relevance(network, query).flatten(1).sum(1)
    torch.testing.assert_close(added, change.gather(1, query.labels[:, None])[:, 0], rtol=1e-6, atol=1e-10)
    guided = build_explainer("guided_backprop", {}, network, query.inputs.__getitem__)
    assert bool(guided.relevance(network, query).any())


@pytest.mark.parametrize("name", ["lrp", "lrp_gamma", "lrp_alpha2_beta1", "lrp_epsilon_plus_flat"])
@pytest.mark.parametrize("layer", ["of a kernel of even size", "along one side", "transposed"])
def test_other_rules_have_derivatives_there_that_are_differences(layer: str, name: str) -> None:
    network, query = subject(LAYERS[layer](), bias=True)
    explainer = build_explainer(name, {}, network, query.inputs.__getitem__).smoothed(Softplus(5.0))
    generator = torch.Generator().manual_seed(5)
    weights, direction = (
        torch.rand(shape, generator=generator, dtype=torch.double)
        for shape in ((3, *SIZE[1:]), query.inputs.shape)
    )

    def loss(inputs: Tensor) -> Tensor:
        return (explainer.explain(network, Query(inputs, query.labels)) * weights).sum()

    inputs = query.inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(inputs), inputs)
    ends = [loss(query.inputs + sign * 1e-6 * direction) for sign in (1, -1)]
    rise = float(ends[0] - ends[1]) / 2e-6
    assert float((found * direction).sum()) == pytest.approx(rise, rel=1e-4)


def test_a_copy_of_such_layers_computes_the_same() -> None:
    for name in ("of a kernel of even size", "along one side", "transposed"):
        network, query = subject(LAYERS[name](), bias=True)
        assert sum(isinstance(step, CapturedAffine) for step in network.operations) >= 3
        copied = network.trainable_copy()
        kinds = [[type(getattr(step, "layer", None)) for step in one.operations] for one in (copied, network)]
        assert kinds[0] == kinds[1]
        torch.testing.assert_close(copied.propagate(query.inputs)[-1], network.module(query.inputs))


@pytest.mark.parametrize("affine", [True, False])
def test_relevance_of_a_normalization_by_channel_is_by_terms_with_its_deviation_held(affine: bool) -> None:
    normalized = nn.InstanceNorm2d(6, affine=affine)
    network, query = subject(Between(lambda net, v: net.own(v), own=normalized), bias=True)
    explainer = build_explainer("lrp_epsilon", {"epsilon": 1e-10}, network, query.inputs.__getitem__)
    inputs, module = query.inputs.clone().requires_grad_(), network.module

    def held(net: Any, values: Tensor) -> Tensor:
        root = (values.detach().var((2, 3), correction=0, keepdim=True) + normalized.eps).rsqrt()
        values = (values - values.mean((2, 3), keepdim=True)) * root
        scale, shift = (normalized.weight, normalized.bias) if affine else (torch.ones(6), torch.zeros(6))
        return values * scale[:, None, None] + shift[:, None, None]

    module.call = held  # type: ignore[assignment]
    logits = module(inputs)
    torch.testing.assert_close(logits, network.propagate(query.inputs)[-1])
    (gradient,) = torch.autograd.grad(logits.gather(1, query.labels[:, None]).sum(), inputs)
    torch.testing.assert_close(
        explainer.relevance(network, query), gradient * query.inputs, rtol=1e-5, atol=1e-9
    )


class ByHand(nn.Module):
    """A normalization as it is written by hand, in a few ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.weight, self.bias = how, nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))

    def forward(self, values: Tensor, held: bool = False) -> Tensor:
        mean = 0.0 if self.how == "root mean square" else values.mean(1, keepdim=True)
        square = (values - mean).pow(2).mean(1, keepdim=True)
        if self.how == "variance":
            square = values.var(1, keepdim=True, unbiased=False)
        square = square.detach() if held else square
        if self.how == "squares":
            out = (values - mean) / torch.sqrt(square + 1e-6)
        else:
            out = (values - mean if self.how == "variance" else values) * torch.rsqrt(square + 1e-6)
        return self.weight[:, None, None] * out + self.bias[:, None, None]


@pytest.mark.parametrize("how", ["squares", "variance", "root mean square"])
def test_a_normalization_that_is_written_by_hand_is_one(how: str) -> None:
    network, query = subject(Between(lambda net, v: net.own(v), own=ByHand(how)), bias=True)
    assert sum(isinstance(step, NormalizeByHand) for step in network.operations) == 1
    assert not any(isinstance(step, Other) for step in network.operations)
    module = network.module
    gradient = build_explainer("gradient", {}, network, query.inputs.__getitem__)
    torch.testing.assert_close(gradient.relevance(network, query), own_gradient(module, query))
    explainer = build_explainer("lrp_epsilon", {"epsilon": 1e-10}, network, query.inputs.__getitem__)
    found = explainer.relevance(network, query)
    module.call = lambda net, values: net.own(values, held=True)  # type: ignore[assignment]
    expected = own_gradient(module, query) * query.inputs
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
