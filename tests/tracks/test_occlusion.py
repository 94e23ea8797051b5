"""Occlusion maps of a linear network, whose every change is a sum, and line-ups by them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmark.network import Network
from benchmark.tracks.lineup import LineUp
from benchmark.tracks.saliency.occlusion import occlusion_maps, seen_coarsely, side

GENERATOR = torch.Generator().manual_seed(0)
WEIGHTS = torch.randn(3, 2, 28, 28, generator=GENERATOR, dtype=torch.double)
IMAGES = torch.rand(2, 2, 28, 28, generator=GENERATOR, dtype=torch.double)
LABELS = torch.tensor([2, 0])
MEAN = (0.2, 0.6)


def linear() -> Network:
    """Logits that are inner products with the weights."""
    layer = nn.Linear(2 * 28 * 28, 3, bias=False)
    layer.weight.data = WEIGHTS.flatten(1)
    return Network(nn.Sequential(nn.Flatten(), layer), MEAN, (1.0, 1.0)).double()


def test_a_place_counts_what_hiding_its_square_changes() -> None:
    found = occlusion_maps(linear(), IMAGES, LABELS)
    assert found.shape == (2, 14, 14)
    for index, label in enumerate(LABELS.tolist()):
        weight = (WEIGHTS[label] - WEIGHTS.mean(0)).numpy()
        change = (np.array(MEAN)[:, None, None] - IMAGES[index].numpy()) * weight
        for row, column in ((0, 0), (3, 9), (13, 13)):
            top, left = max(0, 2 * row - 2), max(0, 2 * column - 2)
            square = change[:, top : 2 * row + 3, left : 2 * column + 3]
            assert float(found[index, row, column]) == pytest.approx(abs(square.sum()), abs=1e-5)


def test_maps_are_averaged_over_the_same_squares() -> None:
    found = seen_coarsely(IMAGES[:, 0])
    assert found.shape == (2, 14, 14)
    for row, column in ((0, 0), (3, 9), (13, 13)):
        top, left = max(0, 2 * row - 2), max(0, 2 * column - 2)
        square = IMAGES[1, 0, top : 2 * row + 3, left : 2 * column + 3]
        assert float(found[1, row, column]) == pytest.approx(float(square.mean()), rel=1e-9)


@pytest.mark.parametrize(("extent", "expected"), [(28, 5), (224, 41), (10, 3)])
def test_squares_grow_with_the_image(extent: int, expected: int) -> None:
    assert side(extent) == expected
    assert seen_coarsely(torch.rand(1, extent, extent)).shape[1] == min(14, extent)


def test_on_average_the_least_kind_of_decoys_counts_and_not_the_least_of_every_case() -> None:
    """Noise has nothing of any kind; its least of three is below that on every case."""
    own, mates, networks, noise = (
        torch.rand(*shape, 7, 7, generator=GENERATOR) for shape in ((64,), (64, 3), (2, 64), (64,))
    )
    line_up = LineUp(own, tuple(mates), networks)
    assert line_up.truth(own).mean() <= line_up.truth_on_average(own).mean() <= 1
    assert line_up.truth_on_average(own).mean() > 0.9
    assert line_up.truth(noise).mean() < -0.05
    assert abs(line_up.truth_on_average(noise).mean()) < 0.05
    assert line_up.truth_on_average(networks[0]).mean() < -0.5
