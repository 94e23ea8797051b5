"""A network is taken apart by the first way that can, and none of the ways is silently worse."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from family_subjects import drawn, gated_network, vision_transformer
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers import (
    Gradient,
    GuidedBackprop,
    LayerwiseRelevancePropagation,
    Query,
    UnsupportedLayer,
)
from benchmark.isolation.parcel import pack, unpack
from benchmark.network import EXACT, Gate, Network, Smoothing, Softplus
from benchmark.network.layers import layer_position, positions_of
from benchmark.network.opaque import Opaque, opaque
from benchmark.network.operations import Operation
from benchmark.network.walks import any_way, captured, traced

SIZE = (3, 16, 16)


class Capricious(nn.Module):
    """Decides by its input what it does: no graph is made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(64, 5)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.relu(self.first(inputs))
        if float(values.sum()) > -1:
            values = functional.hardswish(values) + functional.leaky_relu(1 - values, 0.2)
        tokens = values.flatten(2).transpose(1, 2)
        mixed = functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.last(torch.relu(mixed - 0.1).flatten(1))


def network_of(module: nn.Module, way: Callable[..., list[Operation]]) -> Network:
    module = drawn(module)
    steps = None if way is traced else way(module, SIZE)
    return Network(module, [0.5] * 3, [0.25] * 3, steps).double()


def query_of(count: int = 3) -> Query:
    generator = torch.Generator().manual_seed(8)
    images = torch.rand(count, *SIZE, generator=generator, dtype=torch.double)
    return Query(images, torch.arange(count) % 5)


def assert_second_derivative(network: Network, query: Query, smoothing: Smoothing) -> None:
    """The derivative of the smooth gradient map is the finite difference, and not zero."""
    explainer = Gradient(smoothing=smoothing)
    generator = torch.Generator().manual_seed(9)
    weights, direction = (torch.randn(query.inputs.shape, generator=generator).double() for _ in range(2))

    def of(inputs: Tensor) -> Tensor:
        return (explainer.relevance(network, Query(inputs, query.labels)) * weights).sum()

    inputs = query.inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(of(inputs), inputs)
    assert bool(gradient.any())
    with torch.no_grad():
        rise = (of(query.inputs + 1e-7 * direction) - of(query.inputs - 1e-7 * direction)) / 2e-7
    size = float((gradient * direction).abs().sum())
    assert float((gradient * direction).sum()) == pytest.approx(float(rise), rel=1e-4, abs=1e-6 * size)


def test_the_first_way_that_can_is_taken() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 5))
    assert [type(step).__name__ for step in any_way(plain, SIZE)] == [
        "Affine",
        "Activation",
        "Reshape",
        "Affine",
    ]
    ways = {
        "captured": (
            gated_network(),
            torchvision.models.VisionTransformer(16, 8, 1, 2, 16, 32, num_classes=5),
        ),
        "opaque": (Capricious(),),
    }
    for way, modules in ways.items():
        for module in modules:
            steps = any_way(drawn(module), SIZE)
            assert isinstance(steps[0], Opaque) == (way == "opaque")
            assert all(not step.modules or step.modules[0] for step in steps)


def test_an_opaque_network_has_its_gradient_and_that_of_a_smooth_one() -> None:
    network, query = network_of(Capricious(), opaque), query_of()
    normalized = network.normalize(query.inputs).requires_grad_()
    logits = network.module(normalized)
    chosen = logits.gather(1, query.labels[:, None]).sum()
    (expected,) = torch.autograd.grad(chosen, normalized)
    torch.testing.assert_close(Gradient().relevance(network, query), expected)
    assert_second_derivative(network, query, Softplus(3.0))


@pytest.mark.parametrize("smoothing", [EXACT, Gate(3.0), Softplus(3.0)])
def test_an_opaque_network_is_smoothed_as_one_that_is_looked_into(smoothing: Smoothing) -> None:
    module = gated_network()
    looked, whole, query = network_of(module, captured), network_of(module, opaque), query_of()
    for network in (looked, whole):
        values = network.propagate(network.normalize(query.inputs), smoothing)[-1]
        kept = torch.allclose(values, network(query.inputs), rtol=0, atol=1e-9)
        assert kept == smoothing.keeps_outputs
    explainer = Gradient(smoothing=smoothing)
    expected, found = explainer.relevance(looked, query), explainer.relevance(whole, query)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7 * float(expected.abs().max()))
    if smoothing != EXACT:  # torch's hard sigmoid has no second derivative
        asked = Query(query.inputs.clone().requires_grad_(), query.labels)
        (gradient,) = torch.autograd.grad(explainer.relevance(whole, asked).square().sum(), asked.inputs)
        assert bool(gradient.any())


def test_an_opaque_network_is_refused_by_name_where_it_must_be_looked_into() -> None:
    network, query = network_of(Capricious(), opaque), query_of()
    for explainer in (GuidedBackprop(), LayerwiseRelevancePropagation()):
        with pytest.raises(UnsupportedLayer, match=r"has no rule for Capricious \(network\)"):
            explainer.relevance(network, query)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "LeakyReLU": lambda: nn.LeakyReLU(0.2),
    "RReLU": nn.RReLU,
    "PReLU": lambda: nn.PReLU(4),
    "Hardtanh": lambda: nn.Hardtanh(-0.3, 0.4),
    "Hardswish": nn.Hardswish,
    "Hardsigmoid": nn.Hardsigmoid,
    "ELU": nn.ELU,
    "Mish": nn.Mish,
    "Tanh": nn.Tanh,
}


class Called(nn.Module):
    """A function between two layers."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.function, self.last = nn.Conv2d(3, 4, 3), function, nn.Linear(784, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.function(self.first(inputs)).flatten(1))


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "leaky_relu": lambda values: functional.leaky_relu(values, 0.1),
    "leaky_relu by name": lambda values: functional.leaky_relu(values, negative_slope=0.3),
    "hardtanh": lambda values: functional.hardtanh(values, -0.2, 0.5),
    "hardtanh by name": lambda values: functional.hardtanh(values, max_val=0.5),
    "hardswish": functional.hardswish,
    "hardsigmoid": lambda values: functional.hardsigmoid(5 * values),
    "clamp": lambda values: values.clamp(0, 0.6),
    "clamp by name": lambda values: torch.clamp(values, min=0.1),
    "clamp_min": lambda values: torch.clamp_min(values, -0.1),
}


@pytest.mark.parametrize("way", [traced, captured, opaque])
@pytest.mark.parametrize("name", [*MODULES, *CALLS])
def test_no_activation_hides_the_second_derivative(name: str, way: Callable[..., list[Operation]]) -> None:
    """A smoothing that does nothing would make a network look robust."""
    function = MODULES[name]() if name in MODULES else CALLS[name]
    network, query = network_of(Called(function), way), query_of()
    torch.testing.assert_close(network.propagate(query.inputs)[-1], network.module(query.inputs))
    assert_second_derivative(network, query, Softplus(3.0))
    if name not in ("ELU", "Mish", "Tanh") or way is opaque:
        values = network.propagate(query.inputs, Gate(3.0))[-1]
        torch.testing.assert_close(values, network.module(query.inputs))


def two_inputs() -> nn.Module:
    class Two(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first.flatten(1) + second.flatten(1)

    return Two()


def a_tuple() -> nn.Module:
    class Pair(nn.Module):
        def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            return inputs.flatten(1), inputs.flatten(1)

    return Pair()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (two_inputs, r"torch\.export cannot capture this victim"),
        (a_tuple, r"a victim must return the logits, which it computes last"),
        (Capricious, r"torch\.export cannot capture this victim"),
    ],
)
def test_what_cannot_be_captured_is_told_in_a_sentence(make: Callable[[], nn.Module], told: str) -> None:
    with pytest.raises(TaskError, match=told):
        captured(make().eval(), SIZE)


def test_a_network_that_does_something_else_at_another_batch_is_refused() -> None:
    class Batched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(768, 5)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(inputs.flatten(1)) * (1.0 if inputs.shape[0] == 3 else 2.0)

    with pytest.raises(TaskError, match=r"torch\.export"):
        captured(Batched().eval(), SIZE)


@pytest.mark.parametrize("way", [captured, opaque])
@pytest.mark.parametrize("make", [vision_transformer, gated_network])
def test_a_network_crosses_to_a_confined_process(
    make: Callable[[], nn.Module], way: Callable[..., list[Operation]]
) -> None:
    """As data: what was captured is not captured again, and weights on the other side are its own."""
    size = (1, 12, 12) if make is vision_transformer else SIZE
    module = drawn(make())
    network = Network(module, [0.5], [0.25], way(module, size)).double()
    question = pack(network)
    other: Network = unpack(question.frame, question.tensors).value
    images = torch.rand(3, *size, dtype=torch.double)
    assert torch.equal(other.propagate(images, EXACT)[-1], network.propagate(images, EXACT)[-1])
    with torch.no_grad():
        for weight in other.module.parameters():
            weight.mul_(1.1)
    torch.testing.assert_close(other.propagate(images)[-1], other.module(images))
    assert not torch.allclose(other.propagate(images)[-1], network.propagate(images)[-1])


def hooked(module: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What every module gives, at its last call."""
    found: dict[str, Tensor] = {}
    for name, part in module.named_modules():
        if name:
            part.register_forward_hook(
                lambda _, __, output, name=name: found.__setitem__(name, output.detach().clone())
            )
    module(images)
    for part in module.modules():
        part._forward_hooks.clear()
    return found


def residual() -> nn.Module:
    network = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=5)
    for part in network.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    return network


@pytest.mark.parametrize("way", [traced, captured])
@pytest.mark.parametrize("make", [residual, gated_network, vision_transformer])
def test_a_layers_name_gives_what_a_hook_on_it_finds(
    make: Callable[[], nn.Module], way: Callable[..., list[Operation]]
) -> None:
    """But batch norms, which are folded, and what is done within a fused call."""
    if make is vision_transformer and way is traced:
        pytest.skip("torch.fx does not trace it")
    size = (1, 12, 12) if make is vision_transformer else SIZE
    module = drawn(make())
    network = Network(module, [0.5], [0.25], None if way is traced else way(module, size)).double()
    images = torch.rand(2, *size, dtype=torch.double)
    expected, values = hooked(module, images), network.propagate(images)
    folded = {
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.BatchNorm2d | nn.Conv2d | nn.Identity | nn.Dropout)
    }
    compared = 0
    for name, value in expected.items():
        if name in folded:
            continue
        try:
            found = values[layer_position(network, name)]
        except TaskError:
            continue
        assert found.shape == value.shape, name
        torch.testing.assert_close(found, value, msg=name)
        compared += 1
    assert compared >= 15, f"{compared} of {len(expected)}"


def test_channels_that_come_last_are_told_by_the_operations_before() -> None:
    swin = torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [1, 1], [4, 4], num_classes=5)
    module = drawn(swin)
    network = Network(module, operations=captured(module, (3, 32, 32))).double()
    values = network.propagate(torch.rand(2, 3, 32, 32, dtype=torch.double))
    for name, last in (
        ("features.0.0", False),
        ("features.0", True),
        ("features.1", True),
        ("permute", False),
    ):
        at = layer_position(network, name)
        layout = positions_of(network, values, at)
        assert layout is not None and layout.axis == (3 if last else 1), name
        assert values[at].shape[layout.axis] in (8, 16)
