"""What all explainers promise, refuse and count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
import torchvision
from explainer_subjects import EXPLAINERS, RANDOM, Subject, all_explainers, assert_equal, random_subject
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmark.errors import TaskError
from benchmark.explainers import (
    Explainer,
    Gradient,
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
    passes,
    to_maps,
)
from benchmark.explainers.base import correlation
from benchmark.methods.meter import BudgetExhausted, Meter, MeteredExplainer
from benchmark.network import EXACT, Gate, Network, Smoothing, Softplus

pytestmark = pytest.mark.filterwarnings("ignore:Setting backward hooks")

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
        monkeypatch.setattr(passes, "_ELEMENTS_PER_PASS", {"cpu": elements})
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
    return random_subject(lambda: timm.create_model("efficientnet_b0", num_classes=10), (3, 32, 32))


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
        (nn.LeakyReLU(inplace=True), "pattern_attribution"),
        (nn.Hardswish(), "pattern_attribution"),
        (nn.GroupNorm(1, 2), "lrp guided_backprop pattern_attribution"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_rule_falls_back_to_the_gradient(layer: nn.Module, explainers: str) -> None:
    network, query = random_subject(
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), layer, nn.Flatten(), nn.Linear(72, 10)), (1, 8, 8)
    )
    for name in explainers.split():
        explainer = all_explainers(network, query)[name]
        with pytest.raises(UnsupportedLayer, match=rf"({type(layer).__name__}|Kinked) \(1\)"):
            explainer.explain(network, query)


def test_lone_batch_norms_are_refused_by_patterns_only() -> None:
    network, query = random_subject(
        lambda: torchvision.models.DenseNet(8, (2, 2), 8, num_classes=10), (3, 32, 32)
    )
    known = all_explainers(network, query)
    with pytest.raises(UnsupportedLayer, match="Normalization"):
        known["pattern_attribution"].explain(network, query)
    for name in ("gradient", "guided_backprop", "lrp"):
        assert known[name].explain(network, query).isfinite().all()


def test_patterns_of_another_network_are_refused() -> None:
    network, query = RANDOM["convolutional"]()
    with pytest.raises(UnsupportedLayer, match=r"classifier\.2"):
        PatternAttribution().explain(network, query)


def _build(name: str, **given: Any) -> Explainer:
    network, query = RANDOM["convolutional"]()
    return build_explainer(name, given, network, lambda count: query.inputs[:count])


def test_explainers_are_built_by_name() -> None:
    assert len(explainer_names()) == 24
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
    """With the same patterns: those learned of four images differ by rounding, which moves maps by 2e-5."""
    network, query = victim
    patterns = learn_patterns(network, query.inputs)
    explainer = all_explainers(network, query, patterns)[name].smoothed(Gate(10.0))
    expected = explainer.explain(network, query)
    network.cuda()
    try:
        there = replace(query, inputs=query.inputs.cuda(), labels=query.labels.cuda())
        moved = {layer: pattern.cuda() for layer, pattern in patterns.items()}
        found = all_explainers(network, there, moved)[name].smoothed(Gate(10.0)).explain(network, there)
    finally:
        network.cpu()
    assert_equal(found.cpu(), expected, 1e-4)
