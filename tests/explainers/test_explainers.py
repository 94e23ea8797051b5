"""Every explainer against an independent implementation, and what all of them promise."""

from __future__ import annotations

import copy
import itertools
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torchvision
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from zennit.attribution import Gradient as ZennitGradient
from zennit.canonizers import AttributeCanonizer
from zennit.composites import BetaSmooth
from zennit.core import BasicHook, Composite
from zennit.layer import Sum
from zennit.rules import Norm, Pass, ZBox, ZPlus
from zennit.torchvision import ResNetCanonizer

from benchmark.errors import TaskError
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
    UnsupportedLayer,
    build_explainer,
    explainer_names,
    learn_patterns,
    saliency,
    to_maps,
)
from benchmark.explainers.base import correlation
from benchmark.files.assets import locate_root
from benchmark.methods.meter import BudgetExhausted, Meter, MeteredExplainer
from benchmark.network import EXACT, Gate, Network, Smoothing, Softplus
from benchmark.tasks.data import load_data
from benchmark.victims import load_victim
from benchmark.victims.architectures import build

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks")
ROOT = locate_root()
VICTIMS = ["fashion-small", "fashion-base-max", "fashion-residual"]
Subject = tuple[Network, Query]


def _random(make: Callable[[], nn.Module], size: tuple[int, int, int], classes: int = 10) -> Subject:
    """A random network in double precision with non-trivial running statistics, and a query."""
    torch.manual_seed(3)
    module = make()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                    tensor.add_(torch.rand_like(tensor) * 0.3)
    network = Network(module, [0.4] * size[0], [0.3] * size[0]).double().requires_grad_(False)
    return network, Query(torch.rand(3, *size, dtype=torch.double), torch.arange(3) % classes, seed=7)


RANDOM: dict[str, Callable[[], Subject]] = {
    "convolutional": lambda: _random(
        lambda: build("convolutional", stages=[[4], [6, 6]], hidden=(8,), size=12, channels=2),
        (2, 12, 12),
    ),
    "residual": lambda: _random(lambda: build("residual", widths=(64, 6, 8, 8), channels=3), (3, 16, 16)),
    "resnet18": lambda: _random(lambda: torchvision.models.resnet18(num_classes=10), (3, 32, 32)),
}


def _shipped(name: str, count: int = 4) -> Subject:
    victim = load_victim(name, ROOT)
    network = Network(victim.module, victim.mean, victim.deviation)
    images = load_data("fashion-mnist", ROOT).split("evaluation", count).images
    return network, Query(images, network(images).argmax(1), seed=11)


@pytest.fixture(scope="module", params=[*RANDOM, *VICTIMS])
def subject(request: pytest.FixtureRequest) -> Subject:
    """A network in double precision and a query."""
    if request.param in RANDOM:
        return RANDOM[request.param]()
    network, query = _shipped(request.param)
    inputs = query.inputs.double()
    if request.param.endswith("max"):  # its constant background ties
        inputs = (inputs + 0.01 * torch.rand_like(inputs)).clamp(max=1)
    return network.double(), replace(query, inputs=inputs)


@pytest.fixture(scope="module", params=VICTIMS)
def victim(request: pytest.FixtureRequest) -> Subject:
    """A shipped network in single precision and a query."""
    return _shipped(request.param)


def all_explainers(network: Network, query: Query) -> dict[str, Explainer]:
    """All seven, an average of uniform noise and an aggregate."""
    patterns = PatternAttribution(patterns=learn_patterns(network, query.inputs))
    return {
        "gradient": Gradient(),
        "gradient_x_input": GradientTimesInput(),
        "integrated_gradients": IntegratedGradients(steps=5),
        "smoothgrad": NoiseAverage(Gradient(), samples=5),
        "uniform": NoiseAverage(GradientTimesInput(), samples=3, uniform=True, name="uniform"),
        "guided_backprop": GuidedBackprop(),
        "lrp": LayerwiseRelevancePropagation(),
        "pattern_attribution": patterns,
        "aggregate": Aggregate((Gradient(), LayerwiseRelevancePropagation())),
    }


EXPLAINERS = [
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "smoothgrad",
    "uniform",
    "guided_backprop",
    "lrp",
    "pattern_attribution",
    "aggregate",
]


def assert_equal(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Equal up to ``tolerance`` times the largest value, which is not zero."""
    largest = float(expected.abs().max())
    assert largest > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * largest)


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
    network, query = _random(
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


def fused(module: nn.Module) -> nn.Module:
    """A copy whose batch norms are merged into the layers before them, by torch.

    Zennit's own merging leaves the batch norm's epsilon in place, and with it an error of 1e-4.
    """
    module = copy.deepcopy(module)
    for part in list(module.modules()):
        children = list(part.named_children())
        for (before, layer), (name, norm) in itertools.pairwise(children):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(part, before, fuse_conv_bn_eval(layer, norm))
                setattr(part, name, nn.Identity())
    return module


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
        return Pass() if isinstance(module, nn.ReLU) else None

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
    network, query = _random(
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


# What all of them promise


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("smoothing", [EXACT, Gate(10.0)], ids=["exact", "gate"])
def test_maps_are_distributions_and_samples_never_interact(
    victim: Subject, name: str, smoothing: Gate
) -> None:
    network, query = victim
    explainer = all_explainers(network, query)[name].smoothed(smoothing)
    maps = explainer.explain(network, query)
    assert maps.shape == (4, 28, 28)
    assert maps.dtype == query.inputs.dtype
    assert (maps >= 0).all()
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(4))
    order = torch.tensor([2, 0, 3, 1])
    permuted = explainer.explain(
        network, replace(query, inputs=query.inputs[order], labels=query.labels[order])
    )
    assert_equal(permuted, maps[order], 1e-5)
    for index in range(4):
        one = slice(index, index + 1)
        alone = explainer.explain(network, replace(query, inputs=query.inputs[one], labels=query.labels[one]))
        assert_equal(alone, maps[one], 1e-5)
    assert torch.equal(explainer.explain(network, query), maps)


@pytest.mark.parametrize("name", ["smoothgrad", "uniform"])
def test_noise_comes_from_the_querys_seed_alone(victim: Subject, name: str) -> None:
    network, query = victim
    explainer = all_explainers(network, query)[name]
    maps = explainer.explain(network, query)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert torch.equal(explainer.explain(network, query), maps)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.allclose(explainer.explain(network, replace(query, seed=12)), maps)


@pytest.mark.parametrize("name", ["integrated_gradients", "smoothgrad", "uniform"])
def test_splitting_an_average_changes_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    network, query = RANDOM["convolutional"]()
    explainer = all_explainers(network, query)[name]
    found = []
    for elements in (1, 2 * query.inputs.numel(), 2**30):
        monkeypatch.setattr(saliency, "_ELEMENTS_PER_PASS", {"cpu": elements})
        found.append(explainer.relevance(network, query))
    assert_equal(found[0], found[2], 1e-12)
    assert_equal(found[1], found[2], 1e-12)


@settings(max_examples=30, deadline=None)
@given(
    scale=st.floats(1e-8, 1e8),
    zeros=st.booleans(),
    seed=st.integers(0, 99),
    dtype=st.sampled_from([torch.float, torch.double]),
)
def test_to_maps(scale: float, zeros: bool, seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    relevance = torch.randn(2, 3, 4, 5, generator=generator, dtype=dtype) * scale
    if zeros:
        relevance[1] = 0
    relevance.requires_grad_()
    maps = to_maps(relevance)
    assert (maps >= 0).all()
    torch.testing.assert_close(maps[0], relevance[0].abs().sum(0) / relevance[0].abs().sum())
    assert (maps[1] == 0).all() if zeros else torch.isclose(maps[1].sum(), torch.tensor(1.0, dtype=dtype))
    target = torch.rand(2, 4, 5, generator=generator, dtype=dtype)
    (gradient,) = torch.autograd.grad(1e6 * (maps - target).square().sum(), relevance)
    assert gradient.isfinite().all()
    assert not zeros or (gradient[1] == 0).all()


def test_correlation_is_pearsons_and_finite_at_constant_maps() -> None:
    first, second = torch.rand(3, 5, 5, dtype=torch.double), torch.rand(3, 5, 5, dtype=torch.double)
    second[2] = 0.25
    first.requires_grad_()
    found = correlation(first, second)
    for index in range(2):
        pair = torch.stack([first[index].flatten(), second[index].flatten()])
        torch.testing.assert_close(found[index], torch.corrcoef(pair)[0, 1])
    assert found[2] == 0
    (gradient,) = torch.autograd.grad(found.sum(), first)
    assert gradient.isfinite().all()
    assert (gradient[2] == 0).all()
    flat = torch.zeros(1, 5, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(correlation(flat, torch.rand(1, 5, 5)).sum(), flat)
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_network_without_a_signal_gives_zero_maps(name: str) -> None:
    network, query = RANDOM["convolutional"]()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    inputs = query.inputs.requires_grad_()
    explainer = all_explainers(network, query)[name].smoothed(Gate(5.0))
    maps = explainer.explain(network, replace(query, inputs=inputs))
    assert (maps == 0).all()
    if maps.requires_grad:
        (gradient,) = torch.autograd.grad((1e6 * (maps - 1)).square().sum(), inputs)
        assert (gradient == 0).all()


# Refusals


@pytest.fixture(scope="module")
def silu() -> Subject:
    return _random(lambda: timm.create_model("efficientnet_b0", num_classes=10), (3, 32, 32))


@pytest.mark.parametrize(
    ("explainer", "method"),
    [(LayerwiseRelevancePropagation(), "LRP"), (GuidedBackprop(), "guided backprop")],
)
def test_smooth_activations_and_products_are_refused_by_name(
    silu: Subject, explainer: Explainer, method: str
) -> None:
    network, query = silu
    with pytest.raises(UnsupportedLayer, match=rf"{method} has no rule for \w+ \([\w.]+\)"):
        explainer.explain(network, query)
    assert Gradient().explain(network, query).isfinite().all()


@pytest.mark.parametrize(
    ("layer", "explainers"),
    [
        (nn.SiLU(), "lrp guided_backprop pattern_attribution"),
        (nn.Softplus(), "lrp guided_backprop pattern_attribution"),
        (nn.LeakyReLU(inplace=True), "lrp guided_backprop pattern_attribution"),
        (nn.Hardswish(), "lrp guided_backprop pattern_attribution"),
        (nn.GroupNorm(1, 2), "lrp guided_backprop pattern_attribution"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_rule_falls_back_to_the_gradient(layer: nn.Module, explainers: str) -> None:
    network, query = _random(
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), layer, nn.Flatten(), nn.Linear(72, 10)), (1, 8, 8)
    )
    for name in explainers.split():
        explainer = all_explainers(network, query)[name]
        with pytest.raises(UnsupportedLayer, match=rf"{type(layer).__name__} \(1\)"):
            explainer.explain(network, query)


def test_lone_batch_norms_are_refused_by_lrp_and_patterns_only() -> None:
    network, query = _random(lambda: torchvision.models.DenseNet(8, (2, 2), 8, num_classes=10), (3, 32, 32))
    known = all_explainers(network, query)
    for name in ("lrp", "pattern_attribution"):
        with pytest.raises(UnsupportedLayer, match="Normalization"):
            known[name].explain(network, query)
    for name in ("gradient", "guided_backprop"):
        assert known[name].explain(network, query).isfinite().all()


def test_patterns_of_another_network_are_refused() -> None:
    network, query = RANDOM["convolutional"]()
    with pytest.raises(UnsupportedLayer, match=r"classifier\.2"):
        PatternAttribution().explain(network, query)


def _build(name: str, **given: Any) -> Explainer:
    network, query = RANDOM["convolutional"]()
    return build_explainer(name, given, network, lambda count: query.inputs[:count])


def test_explainers_are_built_by_name() -> None:
    assert len(explainer_names()) == 7
    assert [_build(name).name for name in explainer_names()] == explainer_names()
    assert _build("integrated_gradients", steps=4) == IntegratedGradients(steps=4)
    assert _build("smoothgrad", samples=3, scale=0.2) == NoiseAverage(Gradient(), 3, 0.2)
    assert _build("lrp", stabilizer=0.1) == LayerwiseRelevancePropagation(stabilizer=0.1)
    network, query = RANDOM["convolutional"]()
    patterns = _build("pattern_attribution", images=2).patterns  # type: ignore[attr-defined]
    expected = learn_patterns(network, query.inputs[:2])
    assert patterns.keys() == expected.keys()
    assert all(torch.equal(patterns[key], expected[key]) for key in expected)


def test_wrong_names_and_settings_are_refused() -> None:
    with pytest.raises(TaskError, match="did you mean 'gradient'"):
        _build("gradiant")
    with pytest.raises(TaskError, match=r"known: .*lrp"):
        _build("zzz")
    with pytest.raises(TaskError, match=r"'step'.*did you mean 'steps'"):
        _build("integrated_gradients", step=4)
    with pytest.raises(TaskError, match="imgs"):
        _build("pattern_attribution", imgs=4)
    with pytest.raises(TaskError, match="base"):
        _build("smoothgrad", base=None)
    with pytest.raises(TaskError, match="steps must be at least 1"):
        _build("integrated_gradients", steps=0)
    with pytest.raises(TaskError, match="samples must be at least 1"):
        NoiseAverage(Gradient(), samples=2).subsampled(0)


# Counting


def _metered(explainer: Explainer, limit: int | None = None) -> tuple[Explainer, Network, Query, Meter]:
    network, query = RANDOM["convolutional"]()
    meter = Meter(samples=3, explanation_limit=limit)
    return MeteredExplainer(explainer, meter), network.observed_by(meter), query, meter


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [
        ("gradient", 1, 1),
        ("gradient_x_input", 1, 1),
        ("integrated_gradients", 5, 5),
        ("smoothgrad", 5, 5),
        ("uniform", 3, 3),
        ("guided_backprop", 1, 1),
        ("lrp", 1, 1),
        ("pattern_attribution", 1, 1),
        ("aggregate", 1, 2),
    ],
)
def test_passes_are_counted_exactly(name: str, forwards: int, backwards: int) -> None:
    explainer = all_explainers(*RANDOM["convolutional"]())[name]
    metered, network, query, meter = _metered(explainer)
    assert metered.name == explainer.name
    maps = metered.explain(network, query)
    assert torch.equal(maps, explainer.explain(network, query))
    expected = {"forwards": 6 * forwards, "backwards": 6 * backwards, "explanations": 3}
    assert meter.counts() == expected
    metered.smoothed(Gate(2.0)).subsampled(1).explain(network, query)
    assert meter.explanations == 6


@pytest.mark.parametrize("smoothing", [EXACT, Gate(2.0), Softplus(2.0)])
@pytest.mark.parametrize("name", EXPLAINERS)
def test_maps_and_logits_from_one_pass(name: str, smoothing: Smoothing) -> None:
    """They are those of two calls, and the exact network's logits whatever the smoothing."""
    metered, network, query, meter = _metered(all_explainers(*RANDOM["convolutional"]())[name])
    explainer = metered.smoothed(smoothing)
    expected = explainer.explain(network, query)
    apart = meter.counts()
    maps, logits = explainer.explain_with_logits(network, query)
    together = {key: value - apart[key] for key, value in meter.counts().items()}
    assert_equal(maps, expected, 1e-12)
    assert_equal(logits, network(query.inputs), 1e-12)
    averages = ("integrated_gradients", "smoothgrad", "uniform")
    shared = name not in averages and not isinstance(smoothing, Softplus)
    assert together == {**apart, "forwards": apart["forwards"] + (0 if shared else 3)}
    inputs = query.inputs.requires_grad_()
    _, logits = explainer.explain_with_logits(network, replace(query, inputs=inputs))
    (found,) = torch.autograd.grad(logits.square().sum(), inputs)
    (expected,) = torch.autograd.grad(network(inputs).square().sum(), inputs)
    assert_equal(found, expected)


def test_an_attack_step_is_counted() -> None:
    metered, network, query, meter = _metered(Gradient(smoothing=Gate(2.0)))
    inputs = query.inputs.requires_grad_()
    maps = metered.explain(network, replace(query, inputs=inputs))
    torch.autograd.grad(maps.square().sum(), inputs)
    assert meter.counts() == {"forwards": 3, "backwards": 6, "explanations": 3}


def test_the_budget_is_per_sample() -> None:
    metered, network, query, meter = _metered(Gradient(), limit=2)
    metered.explain(network, query)
    metered.relevance(network, replace(query, inputs=query.inputs[:1], labels=query.labels[:1]))
    metered.explain(network, replace(query, inputs=query.inputs[:2], labels=query.labels[:2]))
    assert meter.explanations == 6
    with pytest.raises(BudgetExhausted, match="2 explanations"):
        metered.explain(network, query)


# Devices


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", EXPLAINERS)
def test_gpu_gives_the_cpus_maps(victim: Subject, name: str) -> None:
    network, query = victim
    explainer = all_explainers(network, query)[name].smoothed(Gate(10.0))
    expected = explainer.explain(network, query)
    network.cuda()
    try:
        there = replace(query, inputs=query.inputs.cuda(), labels=query.labels.cuda())
        found = all_explainers(network, there)[name].smoothed(Gate(10.0)).explain(network, there)
    finally:
        network.cpu()
    assert_equal(found.cpu(), expected, 1e-4)
