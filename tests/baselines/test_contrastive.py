"""Maps of differences of logits: against autograd, and under a shift of all logits."""

from __future__ import annotations

import pytest
import torch
from fairwashing_case import of_goal
from torch import Tensor

from baselines.defenses.contrast_gap import ContrastGap
from baselines.defenses.contrastive import Contrastive, ContrastiveQuery
from baselines.defenses.last_layer import LastLayer
from baselines.defenses.map_disagreement import MapDisagreement
from baselines.defenses.map_variance import MapVariance
from benchmark.api import Explainer, FairwashingAudit, Network, Query
from benchmark.explainers import (
    Gradient,
    IntegratedGradients,
    LayerwiseRelevancePropagation,
    NoiseAverage,
    UnsupportedLayer,
    build_explainer,
)


def shifted(model: Network, by: float = 0.2) -> Network:
    """The network with one function added to all of its logits."""
    weights = dict(model.module.state_dict())
    name = [key for key, value in weights.items() if value.shape == (10, 64)][-1]
    noise = torch.randn(64, generator=torch.Generator().manual_seed(1))
    weights[name] = weights[name] + by * noise
    return model.with_weights(weights)


def difference(logits: Tensor, labels: Tensor, baseline: str) -> Tensor:
    """What is explained, written out."""
    found = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        others = torch.cat([row[:label], row[label + 1 :]])
        found.append(row[label] - (others.mean() if baseline == "mean" else others.logsumexp(0)))
    return torch.stack(found)


@pytest.mark.parametrize("baseline", ["mean", "logsumexp"])
def test_gradients_are_those_of_the_difference(baseline: str) -> None:
    bench = of_goal("picture")
    model, images = bench.models["fashion-tiny"], bench.cases[0].images
    inputs = images.inputs.clone().requires_grad_()
    value = difference(model(inputs), images.labels, baseline).sum()
    (expected,) = torch.autograd.grad(value, inputs)
    hardened = Contrastive(baseline=baseline).harden(Gradient())
    with torch.no_grad():
        found = hardened.relevance(model, Query(images.inputs, images.labels))
    assert torch.allclose(found / model.deviation, expected, atol=1e-5)


@pytest.mark.parametrize(
    "explainer",
    [
        Gradient(),
        IntegratedGradients(steps=3),
        NoiseAverage(Gradient(), 3),
        build_explainer("grad_cam", {}, of_goal("picture").models["fashion-tiny"]),
    ],
    ids=lambda one: one.name,
)
@pytest.mark.parametrize("baseline", ["mean", "logsumexp"])
def test_no_shift_of_all_logits_changes_the_map(explainer: Explainer, baseline: str) -> None:
    bench = of_goal("picture")
    model, images = bench.models["fashion-tiny"], bench.cases[0].images
    query, hardened = Query(images.inputs, images.labels, 1), Contrastive(baseline=baseline).harden(explainer)
    with torch.no_grad():
        plain, apart = (
            [one.explain(network, query) for network in (model, shifted(model))]
            for one in (explainer, hardened)
        )
    assert float((plain[0] - plain[1]).abs().max()) > 1e-4, "the hole that is closed"
    assert torch.allclose(apart[0], apart[1], atol=1e-5)


def test_relevance_adds_up_to_what_starts() -> None:
    bench = of_goal("picture")
    images = bench.cases[0].images
    query = ContrastiveQuery(images.inputs, images.labels)
    logits = bench.models["fashion-tiny"](images.inputs)
    assert query.starting_signal(logits).sum(1).abs().max() < 1e-6
    hardened = Contrastive().harden(LayerwiseRelevancePropagation())
    maps = hardened.explain(bench.models["fashion-tiny"], query)
    assert torch.allclose(maps.sum((1, 2)), torch.ones(len(images)), atol=1e-4)


def test_an_explainer_that_does_not_start_from_logits_is_refused() -> None:
    bench = of_goal("picture")
    rise = build_explainer("rise", {}, bench.models["fashion-tiny"])
    with pytest.raises(UnsupportedLayer, match="rise does not go back from the logits"):
        Contrastive().harden(rise)


def test_detectors_suspect_what_they_are_after() -> None:
    bench = of_goal("picture")
    clean = bench.models["fashion-tiny"]

    def suspicion(detector: type, model: Network) -> float:
        audit = FairwashingAudit(
            model=model,
            data=bench.splits.auditor.images,
            labels=bench.splits.auditor.labels,
            explainer=bench.explainer,
        )
        found: Tensor = detector().suspicion(audit)
        assert found.shape == (1,)
        return float(found[0])

    forged = shifted(clean, 0.5)
    for detector in (MapVariance, ContrastGap, LastLayer):
        assert suspicion(detector, forged) > suspicion(detector, clean), detector.name
    assert 0 <= suspicion(MapDisagreement, clean) <= 2
