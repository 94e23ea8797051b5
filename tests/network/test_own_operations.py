"""What is found of a network is the network: other layers, hooks, aliases and gradients are not lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from family_subjects import drawn
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.explainers import Gradient, Query, UnsupportedLayer, build_explainer
from benchmark.network import Network
from benchmark.network.opaque import Opaque
from benchmark.network.states import without_in_place
from benchmark.network.walks import any_way, captured, traced

SIZE = (3, 8, 8)


def convolution(before: int = 3, after: int = 6) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


class Written(nn.Module):
    """A network whose forward pass is a function of it and of its inputs."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.first, self.second, self.last = convolution(), convolution(), nn.Linear(6, 4)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(self.function(self, inputs).mean((2, 3)))


class Standardized(nn.Conv2d):
    """Weight standardization, behind the name of a convolution."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        weight = (weight - weight.mean((1, 2, 3), keepdim=True)) / (
            weight.std((1, 2, 3), keepdim=True) + 1e-5
        )
        return super()._conv_forward(input, weight, bias)


class Rounded(torch.autograd.Function):
    """Rounds, and lets gradients through."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return torch.round(values * 4) / 4

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> Tensor:
        return signals[0]


def _viewed(net: Any, inputs: Tensor) -> Tensor:
    values = net.first(inputs)
    values.flatten(1).relu_()
    return values


def _sliced(net: Any, inputs: Tensor) -> Tensor:
    values = net.first(inputs) * 1.0
    values[:, :2].mul_(3.0)
    return values


def _aliased(net: Any, inputs: Tensor) -> Tensor:
    values = net.first(inputs)
    return values + net.rectify(net.drop(values))


def _unnoticed(net: Any, inputs: Tensor) -> Tensor:
    values = net.norm(net.first(inputs))
    return values + net.second_after(net.rectify(values))


def _straight_through(net: Any, inputs: Tensor) -> Tensor:
    values = net.first(inputs)
    return torch.relu(values + (torch.round(values * 4) / 4 - values).detach())


def _without_gradient(net: Any, inputs: Tensor) -> Tensor:
    values = net.first(inputs)
    with torch.no_grad():
        other = net.second(inputs)
    return torch.relu(values) + other


def _hooked(change: Callable[[nn.Module], Any]) -> nn.Module:
    module = drawn(Written(lambda net, inputs: torch.relu(net.first(inputs))))
    change(module.first)  # type: ignore[arg-type]
    return module


def _patched(layer: Any) -> None:
    own = layer.forward
    layer.forward = lambda inputs: own(inputs) * torch.tanh(inputs.mean((1, 2, 3), keepdim=True))


in_place = {"rectify": nn.ReLU(True), "drop": nn.Dropout()}
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "a convolution with another weight": lambda: drawn(
        Written(lambda net, inputs: torch.relu(net.own(inputs)), own=Standardized(3, 6, 3))
    ),
    "a forward hook": lambda: _hooked(
        lambda layer: layer.register_forward_hook(lambda _, given, found: found * torch.sigmoid(found))
    ),
    "a hook before": lambda: _hooked(
        lambda layer: layer.register_forward_pre_hook(lambda _, given: (given[0] * 2 - 1,))
    ),
    "a patched forward": lambda: _hooked(_patched),
    "a view in place": lambda: drawn(Written(_viewed)),
    "a slice in place": lambda: drawn(Written(_sliced)),
    "an alias in place": lambda: drawn(Written(_aliased, **in_place)),
    "a residual that is rectified": lambda: drawn(
        Written(_unnoticed, norm=nn.BatchNorm2d(6), rectify=nn.ReLU(True), second_after=convolution(6, 6))
    ),
    "a layer along the width": lambda: drawn(
        Written(
            lambda net, inputs: torch.relu(net.norm(net.wide(net.first(inputs)))),
            wide=nn.Linear(8, 6),
            norm=nn.BatchNorm2d(6),
        )
    ),
    "as many of it as channels": lambda: drawn(
        Written(
            lambda net, inputs: torch.relu(net.norm(net.wide(net.own(inputs)))),
            own=convolution(3, 8),
            wide=nn.Linear(8, 8),
            norm=nn.BatchNorm2d(8),
            last=nn.Linear(8, 4),
        )
    ),
    "a detached difference": lambda: drawn(Written(_straight_through)),
    "a gradient of its own": lambda: drawn(
        Written(lambda net, inputs: torch.relu(Rounded.apply(net.first(inputs))))
    ),
    "a detached gate": lambda: drawn(
        Written(lambda net, inputs: (v := net.first(inputs)) * torch.sigmoid(v.detach()))
    ),
    "a branch without gradient": lambda: drawn(Written(_without_gradient)),
    "a difference of branches": lambda: drawn(
        Written(lambda net, inputs: torch.relu(net.first(inputs) - net.second(inputs)))
    ),
    "a scaled sum": lambda: drawn(
        Written(lambda net, inputs: torch.relu(torch.add(net.first(inputs), net.second(inputs), alpha=0.5)))
    ),
    "less its mean": lambda: drawn(
        Written(lambda net, inputs: torch.relu((v := net.first(inputs)) - v.mean((2, 3), keepdim=True)))
    ),
    "a square": lambda: drawn(Written(lambda net, inputs: (v := net.first(inputs)) * v)),
    "a mask of its own": lambda: drawn(Written(lambda net, inputs: (v := net.first(inputs)) * (v > 0.1))),
    "twice itself": lambda: drawn(Written(lambda net, inputs: torch.relu((v := net.first(inputs)) + v))),
    "shares of channels": lambda: drawn(
        Written(lambda net, inputs: (v := net.first(inputs)) * functional.softmax(v, 1))
    ),
}


def expected_gradient(module: nn.Module, query: Query) -> Tensor:
    """Autograd's, of the module itself."""
    inputs = query.inputs.clone().requires_grad_()
    chosen = module(inputs * 1.0).gather(1, query.labels[:, None]).sum()
    return torch.autograd.grad(chosen, inputs)[0]


def query_of(count: int) -> Query:
    images = torch.rand(count, *SIZE, generator=torch.Generator().manual_seed(count), dtype=torch.double)
    return Query(images, torch.arange(count) % 4)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_gradient_are_the_modules(name: str) -> None:
    module = NETWORKS[name]().eval().double()
    network = Network(module, operations=any_way(module, SIZE)).double()
    for count in (1, 5):
        query = query_of(count)
        with torch.no_grad():
            logits = module(query.inputs.clone())
        torch.testing.assert_close(network.propagate(network.normalize(query.inputs))[-1], logits)
        expected = expected_gradient(module, query)
        assert bool(expected.any())
        torch.testing.assert_close(Gradient().relevance(network, query), expected)


@pytest.mark.parametrize("way", [traced, captured])
@pytest.mark.parametrize("name", ["a forward hook", "a view in place", "a detached difference"])
def test_a_way_that_was_asked_for_gives_the_network_or_refuses_it(name: str, way: Callable[..., Any]) -> None:
    module = NETWORKS[name]().eval().double()
    try:
        steps = way(module, SIZE)
    except TaskError as error:
        assert "another network than this victim is" in str(error) or "in place" in str(error)
        return
    query = query_of(3)
    found = Network(module, operations=steps).double()
    torch.testing.assert_close(Gradient().relevance(found, query), expected_gradient(module, query))


@pytest.mark.parametrize(
    "name", ["a difference of branches", "a scaled sum", "less its mean", "twice itself"]
)
def test_relevance_of_sums_is_kept_or_given_to_constants(name: str) -> None:
    module = NETWORKS[name]().eval().double()
    for part in (module.first, module.second, module.last):
        nn.init.zeros_(part.bias)  # type: ignore[union-attr, arg-type]
    network = Network(module, operations=captured(module, SIZE)).double()
    query = query_of(3)
    explainer = build_explainer("lrp_epsilon", {"epsilon": 1e-9}, network, lambda count: query.inputs[:count])
    relevance = explainer.relevance(network, query)
    logits = network(query.inputs).gather(1, query.labels[:, None])[:, 0]
    torch.testing.assert_close(relevance.sum((1, 2, 3)), logits, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["a square", "a mask of its own", "shares of channels"])
@pytest.mark.parametrize("explainer", ["deep_lift", "lrp_epsilon"])
def test_what_is_no_linear_function_is_refused_by_rules_for_those(name: str, explainer: str) -> None:
    module = NETWORKS[name]().eval().double()
    network = Network(module, operations=captured(module, SIZE)).double()
    query = query_of(2)
    made = build_explainer(explainer, {}, network, lambda count: query.inputs[:count])
    with pytest.raises(UnsupportedLayer, match="has no rule for"):
        made.relevance(network, query)


def test_working_in_place_is_given_up_where_nothing_depends_on_it_alone() -> None:
    plain = Written(lambda net, inputs: net.rectify(net.first(inputs)), rectify=nn.ReLU(True)).eval()
    without_in_place(plain, SIZE)
    assert not plain.rectify.inplace  # type: ignore[union-attr]
    module = NETWORKS["a residual that is rectified"]().eval()
    images = torch.randn(3, *SIZE, dtype=torch.double)
    with torch.no_grad():
        before = module(images)
        without_in_place(module, SIZE)
        torch.testing.assert_close(module(images), before)
    assert module.rectify.inplace  # type: ignore[union-attr]


class Constant(nn.Module):
    """Holds numbers of its own that no move to another precision finds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
        self.kernel = torch.ones(6, 1, 3, 3) / 9

    def forward(self, inputs: Tensor) -> Tensor:
        values = functional.conv2d(torch.relu(self.first(inputs)), self.kernel, groups=6)
        return self.last(values.view(len(inputs), 6, -1).mean(2))


def test_numbers_of_its_own_are_no_traceback_and_weights_stay_bit_by_bit() -> None:
    module = drawn(Constant()).float().eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = Network(module, operations=any_way(module, SIZE))
    images = torch.rand(3, *SIZE)
    torch.testing.assert_close(network.propagate(images)[-1], module(images))
    for name, value in module.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (lambda net, inputs: {"logits": inputs.mean((2, 3))}, "a tensor of logits, not a dict"),
        (lambda net, inputs: (inputs.mean((2, 3)), inputs), "a tensor of logits, not a tuple"),
        (lambda net, inputs: torch.rand(len(inputs), 4), "draws at random"),
    ],
)
def test_what_is_no_classifier_or_draws_is_refused_in_a_sentence(forward: Any, sentence: str) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, inputs: Tensor) -> Any:
            if float(inputs.sum()) > 1e9:  # nothing can make a graph of it
                return self.layer(inputs.mean((2, 3)))
            return forward(self, inputs)

    with pytest.raises(TaskError, match=sentence):
        any_way(Odd(), SIZE)


@pytest.mark.parametrize(
    "call",
    [
        lambda values: values.clamp(0, 1),
        lambda values: values.clamp(max=1),
        lambda values: values.clamp(min=0),
        lambda values: functional.hardtanh(values, 0, 1),
        lambda values: functional.hardsigmoid(6 * values - 3),
        lambda values: functional.hardswish(6 * values - 3),
        lambda values: functional.relu6(6 * values),
        lambda values: functional.leaky_relu(values),
    ],
)
@pytest.mark.parametrize("way", [traced, captured, any_way])
def test_on_a_kink_the_slope_is_autograds(call: Callable[[Tensor], Tensor], way: Callable[..., Any]) -> None:
    """Pictures hold exact zeros and ones."""

    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(12, 4)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.last(call(inputs).flatten(1))

    module = drawn(Cut()).eval().double()
    network = Network(module, operations=way(module, (3, 2, 2))).double()
    images = torch.tensor([0.0, 1.0, 0.5, -1.0, 2.0, 1.0, 0.0, 1.0, 0.0, 0.3, 1.0, 0.0], dtype=torch.double)
    query = Query(images.view(1, 3, 2, 2), torch.tensor([2]))
    torch.testing.assert_close(Gradient().relevance(network, query), expected_gradient(module, query))
    assert not isinstance(network.operations[0], Opaque)
