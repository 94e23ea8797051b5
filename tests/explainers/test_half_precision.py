"""Networks of half precision have the maps that the same network has in double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from family_subjects import explainer_of
from torch import Tensor, nn

from benchmark.api import InputAgnosticSaliency, Query, as_network
from benchmark.explainers import explainer_names
from benchmark.explainers.base import correlation, to_maps
from benchmark.explainers.visualization import (
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Pixel,
    Unit,
)
from benchmark.network import EXACT, Gate, Network

SIZE = (3, 16, 16)
KINDS = [torch.float16, torch.bfloat16]
NAMES = [name for name in explainer_names() if name not in ("attention_rollout", "chefer")]


class Scaled(nn.Module):
    """A network whose activations are ``gain`` times as large, and its logits as large as ever."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, 1, bias=gain >= 1)
        self.last = nn.Linear(512, 5)
        with torch.no_grad():
            for weight in (self.one.weight, self.one.bias):
                weight.mul_(gain)
            self.last.weight.div_(gain)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits."""
        values = self.two(self.one(inputs).relu()).relu()
        logits: Tensor = self.last(nn.functional.max_pool2d(values, 2, 1, 1)[..., :8, :8].flatten(1))
        return logits


def pair(gain: float, kind: torch.dtype) -> tuple[Network, Network]:
    """A network of half precision, and the same in double precision."""
    module = Scaled(gain).to(kind).requires_grad_(False)
    return as_network(module, SIZE), as_network(copy.deepcopy(module).double(), SIZE)


def images(kind: torch.dtype) -> Tensor:
    return torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(1)).to(kind)


@pytest.mark.parametrize(
    ("gain", "kind"),
    [(1e-3, torch.float16), (1.0, torch.float16), (1e3, torch.float16), (1.0, torch.bfloat16)],
)
def test_maps_of_half_precision_are_those_of_double_precision(gain: float, kind: torch.dtype) -> None:
    half, double = pair(gain, kind)
    query = Query(images(kind), torch.arange(3), 7)
    exact = Query(query.inputs.double(), query.labels, 7)
    for name in NAMES:
        first, second = explainer_of(name, half, query), explainer_of(name, double, exact)
        for smoothing in (EXACT, Gate(3.0)):
            found = first.smoothed(smoothing).explain(half, query)
            wanted = second.smoothed(smoothing).explain(double, exact)
            assert found.dtype == torch.float32, name
            assert (found - wanted).norm() < 0.15 * wanted.norm(), name


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_layer_of_zeros_and_a_stabilizer_below_the_type_leave_numbers(kind: torch.dtype) -> None:
    module = Scaled(1.0).to(kind).requires_grad_(False)
    for weight in (module.two.weight, module.two.bias):
        weight.data.zero_()
    model, query = as_network(module, SIZE), Query(images(kind), torch.arange(3))
    for name in NAMES:
        settings = {"stabilizer": 1e-12} if name == "lrp" else {}
        explainer = explainer_of(name, model, query, **settings)
        for asked in (explainer, explainer.smoothed(Gate(3.0))):
            assert asked.explain(model, query).isfinite().all(), name


def test_large_relevance_of_half_precision_sums_to_one_and_correlates() -> None:
    relevance = 100 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).half()
    maps = to_maps(relevance)
    assert torch.equal(maps, to_maps(relevance.float()))
    assert torch.allclose(maps.sum((1, 2)), torch.ones(2))
    halves = maps.half()
    assert torch.allclose(correlation(halves, halves), torch.ones(2), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_global_explanations_are_made_of_half_precision(kind: torch.dtype) -> None:
    half, double = pair(1.0, kind)
    saliency = InputAgnosticSaliency(SIZE, samples=4, steps=4)
    maps, exact = (saliency.explain(model, [0, 1], 0) for model in (half, double))
    assert (maps - exact).norm() < 0.2 * exact.norm()
    magnitude = MagnitudeConstrained(torch.ones(3, 16, 9))
    for way in (Pixel(), Fourier(), magnitude):
        shown = FeatureVisualization(SIZE, way, learning_rate=0.1, steps=4)
        seen, wanted = (shown.explain(model, [Unit(index=1)], [0]) for model in (half, double))
        assert (seen - wanted).abs().max() < 0.05
        assert shown.attainable(half, images(kind)[0]).isfinite().all()
