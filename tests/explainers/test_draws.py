"""What explainers draw does not depend on the process's default type of floating point numbers."""

from __future__ import annotations

import torch
from family_subjects import explainer_of, subject

from benchmark.api import InputAgnosticSaliency
from benchmark.explainers import Query
from benchmark.explainers.visualization import FeatureVisualization, Fourier, Pixel, Transformations, Unit


def test_maps_of_a_seed_are_the_same_under_any_default_type() -> None:
    network, query = subject("convolutional")
    network, query = network.float(), Query(query.inputs.float(), query.labels, 7)
    size = tuple(query.inputs.shape[1:])
    ways = [Pixel(), Fourier()]
    shown = [FeatureVisualization(size, way, steps=2, transformations=Transformations()) for way in ways]

    def maps() -> list[torch.Tensor]:
        named = ("rise", "lime", "kernel_shap", "smoothgrad")
        found = [explainer_of(name, network, query).explain(network, query) for name in named]
        found += [one.explain(network, [Unit(index=1)], [0]) for one in shown]
        return [*found, InputAgnosticSaliency(size, samples=3, steps=2).explain(network, [0], 0)]

    usual = maps()
    torch.set_default_dtype(torch.double)
    try:
        assert all(torch.equal(one, other) for one, other in zip(usual, maps(), strict=True))
    finally:
        torch.set_default_dtype(torch.float)
