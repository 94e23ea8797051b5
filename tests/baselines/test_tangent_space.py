"""Projection on the data's tangent space: against numpy, and against gradients across the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fairwashing_case import forged, of_goal, root, scored
from torch import Tensor

from baselines.defenses.tangent_space_projection import TangentSpaceProjection, projected, tangents
from baselines.trusted.images import trusted_images
from benchmark.api import Gate, Query
from benchmark.explainers import Gradient, GradientTimesInput, LayerwiseRelevancePropagation, UnsupportedLayer
from benchmark.tasks.data import load_data


def projector(image: np.ndarray, data: np.ndarray, neighbours: int, dimensions: int) -> np.ndarray:
    """``V V^T`` by eigenvectors of the covariance of the nearest points, written out."""
    order = np.argsort(((data - image) ** 2).sum(1))[: neighbours - 1]
    near = np.stack([image, *data[order]])
    values, vectors = np.linalg.eigh(np.cov(near.T, bias=True))
    chosen = vectors[:, np.argsort(-values)[:dimensions]]
    return chosen @ chosen.T


def drawn(count: int, seed: int) -> Tensor:
    """Random images of 5x6 pixels."""
    return torch.rand(count, 1, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_projections_are_those_of_numpy() -> None:
    images, data, relevance = drawn(3, 0), drawn(40, 1), drawn(3, 2) - 0.5
    bases = tangents(images, data, 9, 4)
    assert torch.allclose(bases.mT @ bases, torch.eye(4, dtype=torch.double).expand(3, 4, 4))
    found = projected(relevance, bases)
    for image, row, expected in zip(images, relevance, found, strict=True):
        matrix = projector(image.numpy().ravel(), data.flatten(1).numpy(), 9, 4)
        assert expected.numpy().ravel() == pytest.approx(matrix @ row.numpy().ravel(), abs=1e-9)
    assert torch.allclose(projected(found, bases), found)


def test_an_image_that_is_one_of_the_data_counts_once() -> None:
    data = drawn(40, 1)
    assert torch.allclose(
        projected(data[:2], tangents(data[:2], data, 9, 4)),
        torch.cat(
            [projected(data[i : i + 1], tangents(data[i : i + 1], _without(data, i), 9, 4)) for i in (0, 1)]
        ),
    )


def _without(data: Tensor, index: int) -> Tensor:
    return torch.cat([data[:index], data[index + 1 :]])


def test_what_lies_across_the_data_is_not_shown() -> None:
    """A gradient gains any picture less its projection: the map stays."""
    bench = of_goal("picture")
    model, shown = bench.models["fashion-tiny"], bench.cases[0].images
    query = Query(shown.inputs, shown.labels)
    hardened = TangentSpaceProjection().harden(Gradient())
    bases = tangents(shown.inputs, trusted_images(), 32, 16)
    picture = bench.cases[0].goal.picture
    assert picture is not None
    across = picture.expand_as(shown.inputs) - projected(picture.expand_as(shown.inputs), bases)
    with torch.no_grad():
        plain, along = Gradient().relevance(model, query), hardened.relevance(model, query)
    assert torch.allclose(projected(plain + 9 * across, bases), along, atol=1e-4)
    assert float((plain - along).abs().max()) > 1e-3
    with torch.no_grad():
        times = TangentSpaceProjection().harden(GradientTimesInput()).relevance(model, query)
    assert torch.allclose(times, along * model.normalize(shown.inputs), atol=1e-6)


def test_attacks_can_follow_it_through_the_weights() -> None:
    bench = of_goal("picture")
    model, shown = bench.models["fashion-tiny"].trainable_copy(), bench.cases[0].images
    hardened = TangentSpaceProjection().harden(Gradient()).smoothed(Gate(30.0))
    maps = hardened.explain(model, Query(shown.inputs, shown.labels))
    weight = next(model.module.parameters())
    assert float(torch.autograd.grad(maps.square().sum(), weight)[0].abs().max()) > 0


def test_what_has_no_gradient_or_other_images_is_refused_in_a_sentence() -> None:
    with pytest.raises(UnsupportedLayer, match="lrp shows no gradient: there is nothing to project"):
        TangentSpaceProjection().harden(LayerwiseRelevancePropagation())
    hardened = TangentSpaceProjection().harden(Gradient())
    with pytest.raises(UnsupportedLayer, match="of 1x28x28 pixels alone"):
        hardened.relevance(of_goal("picture").models["fashion-tiny"], Query(drawn(1, 0), torch.tensor([1])))


def test_trusted_images_are_the_auditors_and_no_map_of_them_is_judged() -> None:
    bench = of_goal("picture")
    own = trusted_images()
    natural = load_data("fashion-mnist", root()).split("evaluation", None).images
    assert torch.equal(own[: len(natural)], natural[:1000].to(own))
    judged = bench.cases[0].images.inputs
    assert torch.cdist(judged.flatten(1), bench.splits.attacker.images.flatten(1)).min() > 0


def test_it_is_judged_as_any_hardening() -> None:
    bench = of_goal("picture")
    columns = scored(bench, forged(bench), TangentSpaceProjection())
    assert columns["manipulation"] == pytest.approx([0.0] * 6) and min(columns["fidelity"]) > 0
