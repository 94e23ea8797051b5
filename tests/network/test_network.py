"""A network as an explicit graph: logits, gradients, folding, refusals."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from network_subjects import MODULES, SMALL, randomized
from timm.layers.std_conv import StdConv2d
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers.rules import GradientRule
from benchmark.files.assets import locate_root
from benchmark.network import EXACT, Network, Softplus
from benchmark.network.activations import Kinked
from benchmark.network.operations import (
    Activation,
    Add,
    Affine,
    AveragePool,
    Concatenation,
    MaxPool,
    Normalization,
    Other,
    Reshape,
    SmoothActivation,
)
from benchmark.tasks.data import load_data
from benchmark.victims.architectures import build
from benchmark.victims.loading import load_victim

ROOT = locate_root()


def kinds(network: Network) -> list[str]:
    return [type(step).__name__ for step in network.operations]


def test_walk_gives_the_modules_logits(walked: tuple[str, Network, Tensor]) -> None:
    _, network, inputs = walked
    before = inputs.clone()
    values = network.propagate(network.normalize(inputs))
    expected = network(inputs)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(values[-1], expected, rtol=1e-9, atol=1e-10)
    assert torch.equal(inputs, before)


def test_walk_overwrites_no_value(walked: tuple[str, Network, Tensor]) -> None:
    """Whatever is in place or shared, values are as their operations gave them."""
    _, network, inputs = walked
    values = network.propagate(network.normalize(inputs))
    for step, value in zip(network.operations, values[1:], strict=True):
        torch.testing.assert_close(step.forward(*(values[i] for i in step.sources)), value, rtol=0, atol=0)
    for step in network.operations:
        if isinstance(step, Activation):
            assert (values[step.sources[0]] < 0).any(), "a pre-activation was overwritten"


def test_pullbacks_give_autograds_gradient(walked: tuple[str, Network, Tensor]) -> None:
    name, network, inputs = walked
    normalized = network.normalize(inputs).requires_grad_()
    logits = network.module(normalized)
    signal = torch.randn_like(logits)
    (expected,) = torch.autograd.grad(logits, normalized, signal)
    values = network.propagate(normalized.detach())
    found = network.backpropagate(values, signal, GradientRule())
    # torch's own derivative of the hard sigmoid has a sixth in single precision.
    rounding = 1e-8 if name == "mobilenet_v3" else 1e-10
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=rounding * float(expected.abs().max()))


def test_non_negative_inputs_are_non_negative(walked: tuple[str, Network, Tensor]) -> None:
    _, network, inputs = walked
    for smoothing in (EXACT, Softplus(2.0)):
        values = network.propagate(network.normalize(inputs), smoothing)
        for step in network.operations:
            if step.non_negative_input:
                assert all((values[source] >= 0).all() for source in step.sources), step.name


def test_every_batch_norm_is_folded_but_those_before_their_layer() -> None:
    for name, alone in (("residual", 0), ("resnet18", 0), ("vgg11_bn", 0), ("mobilenet_v2", 0)):
        assert kinds(Network(MODULES[name][0]())).count("Normalization") == alone, name
    assert kinds(Network(MODULES["efficientnet_lite0"][0]())).count("Normalization") == 0
    dense = kinds(Network(MODULES["densenet"][0]()))
    assert dense.count("Normalization") == 6
    assert dense.count("Concatenation") > 0


def test_operations_are_what_they_should_be(walked: tuple[str, Network, Tensor]) -> None:
    name, network, _ = walked
    known = {
        kind.__name__
        for kind in (
            Affine,
            Activation,
            Add,
            AveragePool,
            MaxPool,
            Reshape,
            Concatenation,
            Normalization,
        )
    }
    if name == "efficientnet_b0":
        known |= {SmoothActivation.__name__, Other.__name__}
    if name == "mobilenet_v3":
        known |= {Other.__name__, Kinked.__name__}
    assert set(kinds(network)) <= known
    names = [step.name for step in network.operations]
    assert len(set(names)) == len(names)
    if name in ("mobilenet_v2", "efficientnet_lite0"):
        assert all(step.capped for step in network.operations if isinstance(step, Activation))


class Block(nn.Module):
    """One ReLU module, in place, used three times, and a sum in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        shortcut = self.relu(self.first(inputs))
        x = self.norm(self.second(shortcut))
        x = self.relu(x)
        x += shortcut
        x = functional.relu(x - 0.5, inplace=True)
        x *= 2.0
        return self.head(x.mean((2, 3)).relu_())


def test_shared_and_in_place_operations_are_harmless() -> None:
    network = Network(randomized(Block())).double()
    inputs = torch.rand(3, 2, 6, 6, dtype=torch.double)
    values = network.propagate(inputs)
    torch.testing.assert_close(values[-1], network(inputs), rtol=1e-12, atol=1e-12)
    activations = [step for step in network.operations if isinstance(step, Activation)]
    assert len(activations) == 4
    for step in activations[:3]:
        assert (values[step.sources[0]] < 0).any()
    for step, value in zip(network.operations, values[1:], strict=True):
        assert torch.equal(step.forward(*(values[i] for i in step.sources)), value)


@pytest.mark.parametrize("change", ["weight", "bias", "running_mean", "running_var"])
@pytest.mark.parametrize("which", ["folded", "alone"])
def test_batch_norm_stays_live(which: str, change: str) -> None:
    name = {"folded": "residual", "alone": "densenet"}[which]
    make, size = MODULES[name]
    network = Network(randomized(make())).double().requires_grad_(False)
    inputs = torch.rand(2, *size, dtype=torch.double)
    before = network.propagate(inputs)[-1]
    kind = Affine if which == "folded" else Normalization
    norm = next(s.norm for s in network.operations if isinstance(s, kind) and s.norm is not None)
    getattr(norm, change).mul_(1.5)
    after = network.propagate(inputs)[-1]
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, network(inputs), rtol=1e-9, atol=1e-10)


def test_weights_stay_live_and_get_gradients() -> None:
    network = Network(randomized(build("residual", widths=(64, 6, 8, 8)))).double()
    logits = network.propagate(torch.rand(2, 1, 16, 16, dtype=torch.double))[-1]
    gradients = torch.autograd.grad(logits.square().sum(), list(network.parameters()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    with torch.no_grad():
        network.module.conv1.weight.mul_(-1)
    inputs = torch.rand(2, 1, 16, 16, dtype=torch.double)
    torch.testing.assert_close(network.propagate(inputs)[-1], network(inputs), rtol=1e-9, atol=1e-10)


def test_a_copy_is_independent() -> None:
    network = Network(randomized(build("residual", widths=(64, 6, 8, 8)))).double().requires_grad_(False)
    inputs = torch.rand(1, 1, 16, 16, dtype=torch.double)
    twin = copy.deepcopy(network)
    before = network.propagate(inputs)[-1]
    twin.module.conv1.weight.mul_(-1)
    twin.module.bn1.running_mean.add_(1)
    assert torch.equal(network.propagate(inputs)[-1], before)
    torch.testing.assert_close(twin.propagate(inputs)[-1], twin(inputs), rtol=1e-9, atol=1e-10)


class Sequence_(nn.Sequential):
    """A sequence that ends in logits."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize(
    "part",
    [
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 4, 3, stride=2, dilation=2, padding=(1, 2)),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 3)),
        StdConv2d(2, 4, 3),
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Hardswish(inplace=True),
        nn.LeakyReLU(0.2, inplace=True),
        nn.SiLU(inplace=True),
        nn.GELU(),
        nn.Softplus(3.0),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        nn.BatchNorm2d(2, affine=False),
        nn.GroupNorm(1, 2),
    ],
    ids=lambda part: type(part).__name__,
)
def test_unusual_layers_give_logits_and_gradients(part: nn.Module) -> None:
    module = Sequence_(nn.Conv2d(2, 2, 1), part)
    module(torch.zeros(1, 2, 9, 9))
    network = Network(randomized(module)).double().requires_grad_(False)
    inputs = torch.rand(2, 2, 9, 9, dtype=torch.double)
    values = network.propagate(inputs)
    torch.testing.assert_close(values[-1], network(inputs), rtol=1e-10, atol=1e-12)
    for step, value in zip(network.operations, values[1:], strict=True):
        assert torch.equal(step.forward(*(values[i] for i in step.sources)), value)
    inputs.requires_grad_()
    (expected,) = torch.autograd.grad(network(inputs).sum(), inputs)
    found = network.backpropagate(values, torch.ones_like(values[-1]), GradientRule())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


class Calls(nn.Module):
    """Functions and methods instead of modules, broadcast sums, products, a dead branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        x = functional.relu6(self.conv(inputs))
        self.head(x.mean((2, 3)).repeat(1, 4))
        x = functional.max_pool2d(torch.cat([x, x * 0.5], 1), 2)
        x = functional.avg_pool2d(x, 3) + x.mean((2, 3), keepdim=True)
        x = torch.add(x, x.relu())
        x = functional.dropout(functional.adaptive_avg_pool2d(x, (1, 2)), 0.5, self.training)
        return self.head(x.reshape(-1, 16).view(-1, 16))


def test_functions_and_methods_are_recognized() -> None:
    network = Network(randomized(Calls())).double().requires_grad_(False)
    found = kinds(network)
    for kind, count in {
        "Activation": 2,
        "MaxPool": 1,
        "Concatenation": 1,
        "AveragePool": 3,
        "Add": 2,
    }.items():
        assert found.count(kind) == count, kind
    assert found.count("Other") == 1
    assert found.count("Affine") == 2
    inputs = torch.rand(2, 2, 12, 12, dtype=torch.double, requires_grad=True)
    values = network.propagate(inputs.detach())
    torch.testing.assert_close(values[-1], network(inputs), rtol=1e-10, atol=1e-12)
    (expected,) = torch.autograd.grad(network(inputs).sum(), inputs)
    pulled = network.backpropagate(values, torch.ones_like(values[-1]), GradientRule())
    torch.testing.assert_close(pulled, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    channels=st.sampled_from([(1, 1), (2, 1), (2, 2)]),
    size=st.tuples(st.integers(8, 11), st.integers(8, 11)),
)
def test_convolution_of_any_geometry(
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    channels: tuple[int, int],
    size: tuple[int, int],
) -> None:
    """Forward and back."""
    count, groups = channels
    layer = nn.Conv2d(count, 4, kernel, stride, padding, dilation, groups).double()
    step = Affine("conv", (0,), layer)
    inputs = torch.randn(2, count, *size, dtype=torch.double, requires_grad=True)
    output = layer(inputs)
    torch.testing.assert_close(step.forward(inputs), output)
    signal = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, inputs, signal)
    torch.testing.assert_close(step.pullback([inputs], signal)[0], expected)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    half=st.booleans(),
    ceil=st.booleans(),
    counted=st.booleans(),
    size=st.tuples(st.integers(6, 11), st.integers(6, 11)),
)
def test_pullback_of_average_pooling_of_any_geometry(
    kernel: int, stride: int, half: bool, ceil: bool, counted: bool, size: tuple[int, int]
) -> None:
    pool = nn.AvgPool2d(kernel, stride, kernel // 2 if half else 0, ceil, counted)
    step = AveragePool("pool", (0,), pool, "AvgPool2d")
    inputs = torch.randn(2, 3, *size, dtype=torch.double, requires_grad=True)
    output = step.forward(inputs)
    signal = torch.randn_like(output)
    (expected,) = torch.autograd.grad(output, inputs, signal)
    torch.testing.assert_close(step.pullback([inputs], signal)[0], expected)


class TwoReaders(nn.Module):
    """A convolution that is read by its batch norm and by something else."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.pause = nn.Identity()
        self.norm = nn.BatchNorm2d(2)
        self.head = nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.conv(inputs)
        return self.head((self.norm(self.pause(x)) + x).mean((2, 3)))


def test_a_layer_that_something_else_reads_is_not_folded() -> None:
    network = Network(randomized(TwoReaders())).double()
    assert "Normalization" in kinds(network)
    inputs = torch.rand(2, 1, 6, 6, dtype=torch.double)
    torch.testing.assert_close(network.propagate(inputs)[-1], network(inputs))


def test_a_module_called_twice_gets_two_names() -> None:
    shared = nn.Conv2d(1, 1, 3)
    network = Network(nn.Sequential(shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(4, 2)))
    names = [step.name for step in network.operations if isinstance(step, Affine)]
    assert names == ["0", "0:2", "4"]


def refused(forward: Callable[..., object], *parts: nn.Module) -> str:
    """The text that a module with this forward pass is refused with."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(parts)
            self.scale = nn.Parameter(torch.ones(1))

    Odd.forward = forward  # type: ignore[method-assign]
    with pytest.raises(TaskError) as caught:
        Network(Odd())
    return str(caught.value)


def test_refusals_name_the_reason() -> None:
    assert "one input" in refused(lambda self, x, y: x + y)
    assert "logits" in refused(lambda self, x: (x, x))
    assert "bare parameter (scale)" in refused(lambda self, x: x * self.scale)
    assert "shapes (size)" in refused(lambda self, x: x.view(x.size(0), -1))
    assert "fx" in refused(lambda self, x: x if x.sum() > 0 else -x)
    assert "running statistics" in refused(
        lambda self, x: self.parts[0](x), nn.BatchNorm2d(2, track_running_stats=False)
    )
    assert "in place" in refused(lambda self, x: x.fill_(0).sum(1))


def test_a_value_used_after_its_change_in_place_is_refused() -> None:
    relu = nn.ReLU(inplace=True)
    conv = nn.Conv2d(1, 1, 1)

    def by_module(self, x):  # type: ignore[no-untyped-def]
        y = self.parts[1](x)
        return self.parts[0](y) + y

    def by_method(self, x):  # type: ignore[no-untyped-def]
        y = self.parts[1](x)
        y.relu_()
        return y

    def by_call(self, x):  # type: ignore[no-untyped-def]
        y = self.parts[1](x)
        functional.relu(y, inplace=True)
        return y

    for forward in (by_module, by_method, by_call):
        assert "in place" in refused(forward, relu, conv)


def test_an_operation_that_gives_several_tensors_is_refused() -> None:
    class Split(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            first, second = inputs.chunk(2, 1), inputs
            return first[0] + second

    with pytest.raises(TaskError, match="chunk"):
        Network(Split()).propagate(torch.rand(1, 2, 3, 3))


class Counter:
    """Counts samples."""

    def __init__(self) -> None:
        self.counts = [0, 0]

    def forward(self, samples: int) -> None:
        self.counts[0] += samples

    def backward(self, samples: int) -> None:
        self.counts[1] += samples


def test_a_listener_hears_samples_of_its_own_copy_only() -> None:
    network = Network(build("convolutional", **SMALL))
    heard, other = Counter(), Counter()
    observed = network.observed_by(heard)
    network.observed_by(other)
    assert network.listener is None
    inputs = torch.rand(3, 1, 12, 12)
    observed(inputs).sum().backward()
    assert heard.counts == [3, 3]
    values = observed.propagate(inputs)
    assert heard.counts == [6, 3]
    observed.backpropagate(values, torch.ones_like(values[-1]), GradientRule())
    assert heard.counts == [6, 6]
    with torch.no_grad():
        observed(inputs)
    network(inputs)
    assert heard.counts == [9, 6]
    assert other.counts == [0, 0]
    assert observed.module is network.module


def test_normalization_and_bounds() -> None:
    network = Network(nn.Flatten(), mean=(0.5, 0.2), deviation=(0.5, 0.1))
    inputs = torch.rand(2, 2, 3, 3)
    expected = (inputs - torch.tensor([0.5, 0.2]).view(2, 1, 1)) / torch.tensor([0.5, 0.1]).view(2, 1, 1)
    torch.testing.assert_close(network.normalize(inputs), expected)
    low, high = network.bounds()
    torch.testing.assert_close(low.flatten(), torch.tensor([-1.0, -2.0]))
    torch.testing.assert_close(high.flatten(), torch.tensor([1.0, 8.0]))


def test_the_network_is_put_into_evaluation_mode() -> None:
    assert not Network(nn.Sequential(nn.Flatten(), nn.Dropout()).train()).module.training


# Shipped victims


@pytest.mark.parametrize("name", ["fashion-small", "fashion-base", "fashion-base-max", "fashion-residual"])
def test_walk_gives_the_shipped_victims_logits(name: str) -> None:
    victim = load_victim(name, ROOT)
    images = load_data("fashion-mnist", ROOT).split("evaluation", 32).images
    network = Network(victim.module, victim.mean, victim.deviation)
    torch.testing.assert_close(
        network.propagate(network.normalize(images))[-1], network(images), rtol=1e-4, atol=1e-4
    )
    network.double()
    images = images.double()
    torch.testing.assert_close(
        network.propagate(network.normalize(images))[-1], network(images), rtol=1e-10, atol=1e-10
    )


def test_a_networks_condition_tells_modes_hooks_and_gradients_but_not_values() -> None:
    model = Network(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)))
    model.module.requires_grad_(False)
    before = model.condition()
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    assert model.condition() == before
    model.module.train()
    assert model.condition() != before
    model.module.eval()
    hook = model.module[1].register_forward_hook(lambda module, inputs, output: output)
    assert model.condition() != before
    hook.remove()
    model.module.requires_grad_(True)
    assert model.condition() != before
    model.module.requires_grad_(False)
    assert model.condition() == before
