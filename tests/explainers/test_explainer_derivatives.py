"""Derivatives of explanations, in the input and in the weights, against central finite differences.

Everything is in double precision and off the kinks: a step of 1e-7 crosses none with these seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from benchmark.explainers import (
    Aggregate,
    Explainer,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    LayerwiseRelevancePropagation,
    NoiseAverage,
    PatternAttribution,
    Query,
    learn_patterns,
)
from benchmark.network import EXACT, Gate, Network, Smoothing, Softplus
from benchmark.victims.architectures import build

torch.set_num_threads(1)
STEP = 1e-7
SMOOTH: dict[str, Smoothing] = {"gate": Gate(4.0), "softplus": Softplus(4.0)}


def relu6() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.AvgPool2d(2),
        nn.Conv2d(4, 4, 3),
        nn.ReLU6(),
        nn.Flatten(),
        nn.Linear(36, 10),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutional": lambda: build("convolutional", stages=[[4], [6]], hidden=(8,), size=10),
    "convolutional-max": lambda: build(
        "convolutional", stages=[[4], [6]], hidden=(8,), size=10, pooling="max"
    ),
    "residual": lambda: build("residual", widths=(64, 4, 6, 6)),
    "relu6": relu6,
}


@pytest.fixture(params=NETWORKS)
def subject(request: pytest.FixtureRequest) -> tuple[Network, Query]:
    """A network with non-trivial running statistics and a query."""
    torch.manual_seed(5)
    module = NETWORKS[request.param]()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                    tensor.add_(torch.rand_like(tensor) * 0.3)
    network = Network(module, [0.4], [0.3]).double().requires_grad_(False)
    return network, Query(torch.rand(2, 1, 10, 10, dtype=torch.double), torch.tensor([1, 4]), seed=2)


EXPLAINERS: dict[str, Callable[[Network, Query], Explainer]] = {
    "gradient": lambda *_: Gradient(),
    "gradient_x_input": lambda *_: GradientTimesInput(),
    "integrated_gradients": lambda *_: IntegratedGradients(steps=3),
    "smoothgrad": lambda *_: NoiseAverage(Gradient(), samples=3),
    "guided_backprop": lambda *_: GuidedBackprop(),
    "lrp": lambda *_: LayerwiseRelevancePropagation(),
    "pattern_attribution": lambda network, query: PatternAttribution(
        patterns=learn_patterns(network, torch.rand(20, 1, 10, 10, dtype=torch.double))
    ),
    "aggregate": lambda *_: Aggregate((Gradient(), LayerwiseRelevancePropagation())),
}


def assert_derivative(function: Callable[[Tensor], Tensor], at: Tensor, tolerance: float = 1e-4) -> None:
    """The derivative of a scalar along random directions is the finite difference, and not zero."""
    at = at.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(at), at)
    assert gradient.isfinite().all()
    assert gradient.norm() > 0
    largest = 0.0
    for _ in range(3):
        direction = torch.randn_like(at)
        direction /= direction.norm()
        with torch.no_grad():
            rise = function(at + STEP * direction) - function(at - STEP * direction)
        slope = float((gradient * direction).sum())
        scale = float(gradient.norm()) / at.numel() ** 0.5
        assert abs(slope - float(rise) / (2 * STEP)) < tolerance * max(abs(slope), scale)
        largest = max(largest, abs(slope))
    assert largest > 0


def weighed(explain: Callable[[Network, Query], Tensor], network: Network, query: Query) -> Tensor:
    """The explanation's inner product with fixed random weights."""
    values = explain(network, query)
    generator = torch.Generator().manual_seed(8)
    return (torch.randn(values.shape, generator=generator, dtype=torch.double) * values).sum()


@pytest.mark.parametrize("smoothing", SMOOTH)
@pytest.mark.parametrize("name", EXPLAINERS)
def test_derivatives_in_the_input(subject: tuple[Network, Query], name: str, smoothing: str) -> None:
    network, query = subject
    explainer = EXPLAINERS[name](network, query).smoothed(SMOOTH[smoothing])
    for explain in (explainer.relevance, explainer.explain):
        assert_derivative(
            lambda inputs, explain=explain: weighed(explain, network, replace(query, inputs=inputs)),
            query.inputs,
        )


@pytest.mark.parametrize("name", ["gradient_x_input", "integrated_gradients", "lrp"])
def test_derivatives_in_the_input_of_exact_explanations(subject: tuple[Network, Query], name: str) -> None:
    """Those that depend on the input although the network is piecewise linear."""
    network, query = subject
    explainer = EXPLAINERS[name](network, query)
    assert_derivative(
        lambda inputs: weighed(explainer.relevance, network, replace(query, inputs=inputs)),
        query.inputs,
    )


@pytest.mark.parametrize("name", ["gradient", "smoothgrad", "guided_backprop", "pattern_attribution"])
def test_exact_maps_of_relu_networks_offer_no_gradient(subject: tuple[Network, Query], name: str) -> None:
    """They are piecewise constant: only with a smoothing does an attack get a gradient."""
    network, query = subject
    explainer = EXPLAINERS[name](network, query)
    inputs = query.inputs.clone().requires_grad_()
    exact = explainer.explain(network, replace(query, inputs=inputs))
    if exact.requires_grad:
        (gradient,) = torch.autograd.grad(exact.square().sum(), inputs, allow_unused=True)
        assert gradient is None or (gradient == 0).all()
    nearby = replace(query, inputs=query.inputs + 1e-9 * torch.randn_like(query.inputs))
    torch.testing.assert_close(explainer.explain(network, nearby), exact, rtol=0, atol=1e-12)
    for smoothing in SMOOTH.values():
        maps = explainer.smoothed(smoothing).explain(network, replace(query, inputs=inputs))
        (gradient,) = torch.autograd.grad(maps.square().sum(), inputs)
        assert (gradient.flatten(1).norm(dim=1) > 1e-9).all()


@pytest.mark.parametrize("smoothing", [EXACT, *SMOOTH.values()], ids=["exact", *SMOOTH])
@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "guided_backprop", "lrp", "aggregate"])
def test_derivatives_in_the_weights(subject: tuple[Network, Query], name: str, smoothing: Smoothing) -> None:
    """Of every parameter in turn, those of folded batch norms included."""
    network, query = subject
    explainer = EXPLAINERS[name](network, query).smoothed(smoothing)
    parameters = dict(network.named_parameters())
    for parameter in parameters.values():
        parameter.requires_grad_()
    value = weighed(explainer.relevance, network, query)
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    gradients = dict(zip(parameters, found, strict=True))
    norms = {key: 0.0 if each is None else float(each.norm()) for key, each in gradients.items()}
    weights = [key for key, parameter in parameters.items() if parameter.dim() > 1]
    assert sum(norms[key] > 0 for key in weights) > 0.8 * len(weights), norms
    assert all(norms[key] > 0 for key in ("module.bn1.weight", "module.1.weight") if key in norms)
    for key, parameter in parameters.items():
        direction = torch.randn_like(parameter)
        direction /= direction.norm()
        gradient = gradients[key]
        slope = 0.0 if gradient is None else float((gradient * direction).sum())
        with torch.no_grad():
            parameter.add_(STEP * direction)
            above = weighed(explainer.relevance, network, query)
            parameter.sub_(2 * STEP * direction)
            below = weighed(explainer.relevance, network, query)
            parameter.add_(STEP * direction)
        difference = float(above - below) / (2 * STEP)
        scale = norms[key] / parameter.numel() ** 0.5
        assert abs(slope - difference) < 1e-4 * max(abs(slope), scale) + 1e-8, key


@pytest.mark.parametrize("name", ["gradient", "guided_backprop", "lrp"])
def test_torchs_own_checks(name: str) -> None:
    """First and second derivatives of the relevance: second and third of the network."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.AvgPool2d(2))
    module = nn.Sequential(*module, nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    network = Network(module, [0.1], [0.5]).double().requires_grad_(False)
    explainer = EXPLAINERS[name](network, None).smoothed(Softplus(2.0))  # type: ignore[arg-type]
    inputs = torch.rand(1, 1, 4, 4, dtype=torch.double, requires_grad=True)

    def relevance(inputs: Tensor) -> Tensor:
        return explainer.relevance(network, Query(inputs, torch.tensor([1])))

    assert torch.autograd.gradcheck(relevance, inputs)
    assert torch.autograd.gradgradcheck(relevance, inputs)


def test_the_loss_of_the_logits_and_of_the_map_add_up() -> None:
    """One backward pass through prediction and explanation together, as attacks do it."""
    torch.manual_seed(5)
    network = Network(NETWORKS["residual"]()).double().requires_grad_(False)
    explainer = Gradient(smoothing=Gate(4.0))
    labels = torch.tensor([1, 4])
    target = torch.rand(2, 10, 10, dtype=torch.double)

    def loss(inputs: Tensor) -> Tensor:
        maps = explainer.explain(network, Query(inputs, labels))
        return (maps - target).square().sum() + network(inputs).square().sum()

    assert_derivative(loss, torch.rand(2, 1, 10, 10, dtype=torch.double))
