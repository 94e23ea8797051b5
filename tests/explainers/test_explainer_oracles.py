"""Explainers against captum, zennit, autograd and plain loops."""

from __future__ import annotations

import types
from dataclasses import replace
from typing import Any

import pytest
import torch
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from explainer_subjects import (
    EXPLAINERS,
    RANDOM,
    VICTIMS,
    Subject,
    all_explainers,
    assert_equal,
    fused,
    random_subject,
    shipped,
)
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from zennit.attribution import Gradient as ZennitGradient
from zennit.canonizers import AttributeCanonizer
from zennit.composites import BetaSmooth
from zennit.core import BasicHook, Composite
from zennit.layer import Sum
from zennit.rules import Norm, Pass, ZBox, ZPlus
from zennit.torchvision import ResNetCanonizer

from benchmark.explainers import (
    Aggregate,
    Gradient,
    GradientTimesInput,
    GuidedBackprop,
    IntegratedGradients,
    LayerwiseRelevancePropagation,
    NoiseAverage,
    Query,
)
from benchmark.network import EXACT, Gate, Network, Softplus
from benchmark.network.operations import Normalization

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks")


@pytest.fixture(scope="module", params=[*RANDOM, *VICTIMS])
def subject(request: pytest.FixtureRequest) -> Subject:
    """A network in double precision and a query."""
    if request.param in RANDOM:
        return RANDOM[request.param]()
    network, query = shipped(request.param)
    inputs = query.inputs.double()
    if request.param.endswith("max"):  # its constant background ties
        inputs = (inputs + 0.01 * torch.rand_like(inputs)).clamp(max=1)
    return network.double(), replace(query, inputs=inputs)


def autograd_gradient(network: Network, normalized: Tensor, labels: Tensor) -> Tensor:
    normalized = normalized.detach().requires_grad_()
    logits = network.module(normalized)
    return torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), normalized)[0]


# Oracles


def test_gradient_is_autograds(subject: Subject) -> None:
    network, query = subject
    normalized = network.normalize(query.inputs)
    expected = autograd_gradient(network, normalized, query.labels)
    assert_equal(Gradient().relevance(network, query), expected)
    assert_equal(GradientTimesInput().relevance(network, query), expected * normalized)


def test_gradient_of_a_softplus_network_is_autograds(subject: Subject) -> None:
    network, query = subject
    smoothing = Softplus(3.0)
    normalized = network.normalize(query.inputs).requires_grad_()
    logits = network.propagate(normalized, smoothing)[-1]
    (expected,) = torch.autograd.grad(logits.gather(1, query.labels[:, None]).sum(), normalized)
    assert_equal(Gradient(smoothing=smoothing).relevance(network, query), expected, 1e-7)


def test_integrated_gradients_are_captums(subject: Subject) -> None:
    network, query = subject
    normalized = network.normalize(query.inputs)
    captum = CaptumIntegratedGradients(network.module)
    expected = captum.attribute(normalized, target=query.labels, n_steps=7, method="riemann_middle")
    assert_equal(IntegratedGradients(steps=7).relevance(network, query), expected, 1e-7)


def test_integrated_gradients_are_complete() -> None:
    network, query = RANDOM["convolutional"]()
    relevance = IntegratedGradients(steps=2000).relevance(network, query).sum((1, 2, 3))
    logits = network(query.inputs)
    baseline = network(network.mean.expand_as(query.inputs))
    expected = (logits - baseline).gather(1, query.labels[:, None]).flatten()
    torch.testing.assert_close(relevance, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("uniform", [False, True])
def test_noise_average_is_a_plain_loop(subject: Subject, uniform: bool) -> None:
    network, query = subject
    generator = torch.Generator().manual_seed(query.seed)
    shape = (6, *query.inputs.shape[1:])
    if uniform:
        noise = 0.2 * (2 * torch.rand(shape, generator=generator) - 1)
    else:
        noise = 0.2 * torch.randn(shape, generator=generator)
    total = torch.zeros_like(query.inputs)
    for draw in noise.double():
        normalized = network.normalize(query.inputs + draw)
        total += autograd_gradient(network, normalized, query.labels)
    explainer = NoiseAverage(Gradient(), samples=6, scale=0.2, uniform=uniform)
    assert_equal(explainer.relevance(network, query), total / 6)


def test_guided_backprop_is_captums(subject: Subject) -> None:
    network, query = subject
    captum = CaptumGuidedBackprop(network.module)
    normalized = network.normalize(query.inputs).requires_grad_()
    expected = captum.attribute(normalized, target=query.labels)
    found = GuidedBackprop().relevance(network, query)
    assert_equal(found, expected)
    assert not torch.allclose(found, Gradient().relevance(network, query))


def test_guided_backprop_rectifies_at_relu6_too() -> None:
    """Captum and zennit give the plain gradient there."""
    network, query = random_subject(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU6(),
            nn.Conv2d(4, 4, 3),
            nn.ReLU6(),
            nn.Flatten(),
            nn.Linear(64, 10),
        ),
        (1, 8, 8),
    )
    with torch.no_grad():
        network.module[0].weight.mul_(20)
    first, _, second, _, _, head = network.module
    x = network.normalize(query.inputs)
    a = first(x)
    b = second(a.clamp(0, 6))
    signal = head.weight[query.labels].view_as(b)
    signal = signal.clamp(min=0) * ((b > 0) & (b < 6))
    signal = nn.functional.conv_transpose2d(signal, second.weight)
    signal = signal.clamp(min=0) * ((a > 0) & (a < 6))
    assert (a > 6).any()
    assert_equal(
        GuidedBackprop().relevance(network, query),
        nn.functional.conv_transpose2d(signal, first.weight),
    )


class BlockSums(AttributeCanonizer):
    """Makes the sum of timm's residual block a module that a rule can hook."""

    def __init__(self) -> None:
        super().__init__(self._attributes)

    @staticmethod
    def _attributes(name: str, module: nn.Module) -> dict[str, Any] | None:
        if not isinstance(module, BasicBlock):
            return None

        def forward(self: BasicBlock, inputs: Tensor) -> Tensor:
            shortcut = inputs if self.downsample is None else self.downsample(inputs)
            hidden = self.act1(self.bn1(self.conv1(inputs)))
            hidden = self.bn2(self.conv2(hidden))
            return self.act2(self.sum_of_branches(torch.stack([hidden, shortcut], dim=-1)))

        return {"forward": types.MethodType(forward, module), "sum_of_branches": Sum()}


def zennit_lrp(network: Network, query: Query, stabilizer: float) -> Tensor:
    """Zennit's z+ with zB in the first layer, its biases without relevance."""
    low, high = (bound.expand_as(query.inputs) for bound in network.bounds())
    module = fused(network.module)
    first = next(part for part in module.modules() if isinstance(part, nn.Conv2d))
    plain = {"stabilizer": stabilizer, "zero_params": "bias"}

    def rule(context: dict[str, Any], name: str, module: nn.Module) -> BasicHook | None:
        if module is first:
            return ZBox(low, high, **plain)
        if isinstance(module, nn.Conv2d | nn.Linear):
            return ZPlus(**plain)
        if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d | Sum):
            return Norm(stabilizer)
        return Pass() if isinstance(module, nn.ReLU | nn.BatchNorm2d) else None

    composite = Composite(module_map=rule, canonizers=[BlockSums(), ResNetCanonizer()])
    labels = nn.functional.one_hot(query.labels, 10)
    with ZennitGradient(module, composite) as attributor:
        normalized = network.normalize(query.inputs).requires_grad_()
        return attributor(normalized, lambda logits: logits * labels)[1]


@pytest.mark.parametrize("stabilizer", [1e-3, 0.1])
def test_lrp_is_zennits(subject: Subject, stabilizer: float) -> None:
    network, query = subject
    explainer = LayerwiseRelevancePropagation(stabilizer=stabilizer)
    expected = zennit_lrp(network, query, stabilizer)
    assert_equal(explainer.relevance(network, query), expected, 1e-7)


def test_lrp_of_signed_inputs_is_zennits() -> None:
    """An average and a second layer that no ReLU precedes take inputs of either sign."""
    network, query = random_subject(
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.AvgPool2d(2),
            nn.Conv2d(4, 4, 2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 10),
        ),
        (1, 8, 8),
    )
    assert not network.operations[1].non_negative_input
    assert not network.operations[2].non_negative_input
    assert (network.propagate(network.normalize(query.inputs))[2] < 0).any()
    expected = zennit_lrp(network, query, 0.1)
    explainer = LayerwiseRelevancePropagation(stabilizer=0.1)
    assert_equal(explainer.relevance(network, query), expected, 1e-7)


def test_lrp_through_a_batch_norm_by_itself_is_zennits() -> None:
    """One that follows a ReLU, as in DenseNet, can be merged into no layer: zennit's ``Pass``."""

    def made() -> nn.Module:
        norm = nn.BatchNorm2d(4)
        assert norm.running_mean is not None and norm.running_var is not None
        with torch.no_grad():
            norm.running_mean.copy_(torch.randn(4))
            norm.running_var.copy_(0.5 + torch.rand(4))
            norm.weight.copy_(torch.randn(4))
            norm.bias.copy_(torch.randn(4))
        parts = [nn.Conv2d(1, 4, 3), nn.ReLU(), norm, nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU()]
        return nn.Sequential(*parts, nn.Flatten(), nn.Linear(64, 10)).eval()

    network, query = random_subject(made, (1, 8, 8))
    assert any(isinstance(operation, Normalization) for operation in network.operations)
    explainer = LayerwiseRelevancePropagation(stabilizer=0.1)
    assert_equal(explainer.relevance(network, query), zennit_lrp(network, query, 0.1), 1e-7)


def _sum_and_logit(subject: Subject) -> tuple[Tensor, Tensor]:
    network, query = subject
    relevance = LayerwiseRelevancePropagation(stabilizer=1e-12).relevance(network, query)
    return relevance.sum((1, 2, 3)), network(query.inputs).gather(1, query.labels[:, None]).flatten()


def test_lrp_conserves_the_logit_without_biases() -> None:
    network, query = RANDOM["convolutional"]()
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.bias.zero_()
    query = replace(query, labels=network(query.inputs).argmax(1))
    torch.testing.assert_close(*_sum_and_logit((network, query)), rtol=1e-6, atol=1e-9)


def test_lrp_nearly_conserves_the_logit_of_victims(victim: Subject) -> None:
    """What neurons that a bias alone has made active would pass on is lost."""
    torch.testing.assert_close(*_sum_and_logit(victim), rtol=0.02, atol=1e-3)


def test_beta_smoothing_is_zennits() -> None:
    """Zennit's is right where no ReLU is in place or shared."""
    network, query = RANDOM["convolutional"]()
    normalized = network.normalize(query.inputs).requires_grad_()
    labels = nn.functional.one_hot(query.labels, 10).double()
    with ZennitGradient(network.module, BetaSmooth(beta_smooth=4.0)) as attributor:
        expected = attributor(normalized, labels)[1]
    assert_equal(Gradient(smoothing=Gate(4.0)).relevance(network, query), expected)


def test_aggregate_is_the_mean_of_normalized_maps(victim: Subject) -> None:
    network, query = victim
    members = (Gradient(), LayerwiseRelevancePropagation(), GuidedBackprop())
    maps = [member.relevance(network, query).abs().sum(1) for member in members]
    expected = sum(each / each.sum((1, 2), keepdim=True) for each in maps) / 3
    aggregate = Aggregate(members)
    assert aggregate.relevance(network, query).shape == (4, 1, 28, 28)
    torch.testing.assert_close(aggregate.explain(network, query), expected, rtol=1e-5, atol=1e-9)


# Smoothings


def test_softplus_explanations_tend_to_the_exact_ones() -> None:
    network, query = RANDOM["residual"]()
    for name, explainer in all_explainers(network, query).items():
        exact = explainer.relevance(network, query)
        distances = [
            float((explainer.smoothed(Softplus(beta)).relevance(network, query) - exact).norm())
            for beta in (10.0, 1e3, 1e7)
        ]
        assert distances[0] > distances[1] > distances[2], name
        assert distances[2] < 1e-3 * float(exact.norm()), name


@pytest.mark.parametrize("name", EXPLAINERS)
def test_smoothed_overrides_no_smoothing(name: str) -> None:
    network, query = RANDOM["convolutional"]()
    explainer = all_explainers(network, query)[name]
    once = explainer.smoothed(Gate(2.0))
    assert once != explainer
    assert once.smoothed(Softplus(9.0)) == once
    assert once.smoothed(EXACT) == once
    assert explainer.smoothed(EXACT) == explainer
    mixed = Aggregate((Gradient(smoothing=Gate(1.0)), GuidedBackprop())).smoothed(Gate(5.0))
    assert mixed.members == (Gradient(smoothing=Gate(1.0)), GuidedBackprop(smoothing=Gate(5.0)))


def test_subsampled_takes_fewer_steps_never_more() -> None:
    assert IntegratedGradients(steps=30).subsampled(4) == IntegratedGradients(steps=4)
    assert IntegratedGradients(steps=3).subsampled(4) == IntegratedGradients(steps=3)
    noisy = NoiseAverage(Gradient(), samples=16, scale=0.3, uniform=True, name="uniform")
    assert noisy.subsampled(5) == replace(noisy, samples=5)
    assert noisy.subsampled(50) == noisy
    assert Gradient().subsampled(1) == Gradient()
    members = (IntegratedGradients(steps=30), Gradient())
    assert Aggregate(members).subsampled(2).members == (IntegratedGradients(steps=2), Gradient())
