"""What every explainer that a task may name promises, on networks of every kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from explainer_subjects import Subject, assert_equal
from family_subjects import ATTENTION, NETWORKS, explainer_of, subject
from torch import Tensor

from benchmark.errors import TaskError
from benchmark.explainers import Query, UnsupportedLayer, explainer_names, recipe_of
from benchmark.explainers.checked import build_explainer
from benchmark.methods.meter import Meter
from benchmark.network import Gate, Softplus
from benchmark.tasks.explainers import listed_explainers

REFUSED = {
    ("convolutional", "attention_rollout"): "no attention",
    ("convolutional", "chefer"): "no attention",
    ("gated", "attention_rollout"): "no attention",
    ("gated", "chefer"): "no attention",
    ("convnext", "attention_rollout"): "no attention",
    ("convnext", "chefer"): "no attention",
    ("transformer", "guided_backprop"): r"guided backprop has no rule for gelu \(blocks\.1\.mlp\.act\)",
    ("convnext", "guided_backprop"): "guided backprop has no rule for gelu",
    ("gated", "pattern_attribution"): "PatternAttribution has no rule for Kinked",
    ("transformer", "pattern_attribution"): "PatternAttribution has no rule for gelu",
    ("convnext", "pattern_attribution"): "PatternAttribution has no rule for gelu",
    ("transformer", "lrp"): "LRP has no rule for",
    ("convnext", "lrp"): "LRP has no rule for",
    ("gated", "lrp"): "LRP has no rule for",
    ("transformer", "deep_lift"): "DeepLIFT has no rule for",
    ("convnext", "deep_lift"): "DeepLIFT has no rule for",
    ("gated", "deep_lift"): "DeepLIFT has no rule for",
}
"""What an explainer has no meaning for is refused by name; everything else is answered."""
PAIRS = [(network, name) for network in NETWORKS for name in explainer_names()]
ANSWERED = [pair for pair in PAIRS if pair not in REFUSED]


@pytest.fixture(scope="module")
def subjects() -> dict[str, Subject]:
    """Networks and queries."""
    return {name: subject(name) for name in NETWORKS}


def test_every_file_of_a_family_is_found_and_its_settings_are_those_of_its_explainers() -> None:
    assert {listed.family for listed in listed_explainers().values()} >= {
        *("gradients", "relevance", "cams", "perturbation", "transformers", "differences")
    }
    for name, listed in listed_explainers().items():
        assert set(listed.settings.model_fields) == set(recipe_of(name).settings), name


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("lime", {"output": "prob"}, r"settings.output: .* \(did you mean 'probability'\?\)"),
        ("integrated_gradients", {"baseline": "blak"}, r"settings.baseline: .*did you mean 'black'\?"),
        ("integrated_gradients", {"points": "mid"}, r"settings.points: .*did you mean 'midpoint'\?"),
        ("lime", {"segments": "slic"}, "settings.segments: must be 'grid' or 'quickshift'; it is 'slic'"),
        ("occlusion", {"window": 0}, "settings.window: must be above 0; it is 0"),
        ("occlusion", {"stride": 0}, "settings.stride: must be above 0; it is 0"),
        ("lime", {"cells": 0}, "settings.cells: must be above 0; it is 0"),
        ("rise", {"share": 1.5}, "settings.share: must be at most 1; it is 1.5"),
        ("smoothgrad", {"samples": "8"}, "settings.samples: must be a whole number; it is '8'"),
        ("smoothgrad", {"scale": float("inf")}, "settings.scale: must be "),
        ("lrp_epsilon", {"epsilon": float("nan")}, "settings.epsilon: must be a finite number; it is nan"),
        ("grad_cam", {"layer": 3}, "settings.layer: must be text"),
        ("gradient", {"sample": 3}, "unknown setting of explainer 'gradient': 'sample'"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_where_an_explainer_is_built(
    name: str, settings: dict[str, Any], said: str, subjects: dict[str, Subject]
) -> None:
    with pytest.raises(TaskError, match=said):
        build_explainer(name, settings, subjects["convolutional"][0])


@pytest.mark.parametrize(("network", "name"), REFUSED)
def test_what_has_no_meaning_is_refused_by_name(
    network: str, name: str, subjects: dict[str, Subject]
) -> None:
    model, query = subjects[network]
    with pytest.raises((UnsupportedLayer, TaskError), match=REFUSED[network, name]):
        explainer_of(name, model, query).explain(model, query)


@pytest.mark.parametrize(("network", "name"), ANSWERED)
def test_a_map_is_a_distribution_of_its_own_sample(
    network: str, name: str, subjects: dict[str, Subject]
) -> None:
    model, query = subjects[network]
    explainer = explainer_of(name, model, query)
    assert explainer.name == name
    maps = explainer.explain(model, query)
    assert maps.shape == (3, *query.inputs.shape[2:]) and maps.dtype == torch.double
    assert (maps >= 0).all() and float(maps.std((1, 2)).max()) > 0
    torch.testing.assert_close(maps.sum((1, 2)), torch.ones(3, dtype=torch.double))
    alone = explainer.explain(model, Query(query.inputs[1:2], query.labels[1:2], query.seed))
    assert_equal(alone, maps[1:2], 1e-9)
    assert torch.equal(explainer.explain(model, query), maps)


@pytest.mark.parametrize(("network", "name"), ANSWERED)
def test_a_map_has_the_derivative_that_it_shows(
    network: str, name: str, subjects: dict[str, Subject]
) -> None:
    """In inputs and in a weight of the first layer, of the smooth stand-in, along random directions."""
    model, query = subjects[network]
    explainer = explainer_of(name, model, query).smoothed(Softplus(5.0))
    generator = torch.Generator().manual_seed(5)
    target = torch.rand(3, *query.inputs.shape[2:], generator=generator, dtype=torch.double)

    def of(inputs: Tensor) -> Tensor:
        return (explainer.explain(model, replace(query, inputs=inputs)) * target).sum()

    inputs = query.inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(of(inputs), inputs)
    direction = torch.randn(inputs.shape, generator=generator, dtype=torch.double)
    step = 1e-8  # a larger one crosses the signs of sums that stabilizers follow
    with torch.no_grad():
        rise = (of(query.inputs + step * direction) - of(query.inputs - step * direction)) / (2 * step)
    size = float((gradient * direction).abs().sum())
    assert size > 0, "an attack would have no gradient"
    assert float((gradient * direction).sum()) == pytest.approx(float(rise), rel=1e-4, abs=1e-5 * size)


@pytest.mark.parametrize(("network", "name"), ANSWERED)
def test_a_map_has_a_derivative_in_the_weights(network: str, name: str, subjects: dict[str, Subject]) -> None:
    model, query = subjects[network]
    learner = model.trainable_copy()
    weight = max(learner.module.parameters(), key=lambda one: one.numel())
    explainer = explainer_of(name, model, query).smoothed(Softplus(5.0))
    generator = torch.Generator().manual_seed(6)
    target = torch.rand(3, *query.inputs.shape[2:], generator=generator, dtype=torch.double)

    def value() -> Tensor:
        return (explainer.explain(learner, query) * target).sum()

    (gradient,) = torch.autograd.grad(value(), weight)
    direction = torch.randn(weight.shape, generator=generator, dtype=torch.double)
    step, ends = 1e-8, []
    with torch.no_grad():
        for sign in (1, -2):
            weight.add_(sign * step * direction)
            ends.append(float(value()))
    size = float((gradient * direction).abs().sum())
    assert size > 0
    rise = (ends[0] - ends[1]) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(rise, rel=1e-4, abs=1e-5 * size)


@pytest.mark.parametrize("name", ["rise", "lime", "kernel_shap"])
def test_draws_come_from_the_seed_and_get_fewer_when_asked(name: str, subjects: dict[str, Subject]) -> None:
    model, query = subjects["convolutional"]
    explainer = explainer_of(name, model, query)
    maps = explainer.explain(model, query)
    assert not torch.allclose(explainer.explain(model, replace(query, seed=8)), maps)
    assert explainer.subsampled(1) == explainer_of(name, model, query, samples=16)
    assert explainer.subsampled(1000) == explainer


@pytest.mark.parametrize("name", [name for name in explainer_names() if name not in ATTENTION])
def test_a_smooth_stand_in_is_near_the_map_where_it_is_sharp(name: str, subjects: dict[str, Subject]) -> None:
    model, query = subjects["convolutional"]
    explainer = explainer_of(name, model, query)
    expected = explainer.explain(model, query)
    for smoothing in (Gate(1e5), Softplus(1e5)):
        assert_equal(explainer.smoothed(smoothing).explain(model, query), expected, 1e-3)


@pytest.mark.parametrize(
    ("name", "passes"), [("rise", 20), ("lime", 42), ("kernel_shap", 42), ("occlusion", 17)]
)
def test_passes_and_gradients_of_variants_are_counted(
    name: str, passes: int, subjects: dict[str, Subject]
) -> None:
    """Three images, each as often as it is asked about, and as often again by a gradient through it all."""
    model, query = subjects["convolutional"]
    meter = Meter(samples=3)
    explainer = explainer_of(name, model, query)
    inputs = query.inputs.clone().requires_grad_()
    maps = explainer.explain(model.observed_by(meter), replace(query, inputs=inputs))
    assert meter.counts() == {"forwards": 3 * passes, "backwards": 0, "explanations": 0}
    torch.autograd.grad(maps.square().sum(), inputs)
    assert meter.counts() == {"forwards": 3 * passes, "backwards": 3 * passes, "explanations": 0}
