"""Mass of maps against an implementation in numpy, and its slopes against central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmark.metrics.mass import centers, displacement, entropy, mass_on_top


def maps(seed: int, count: int = 4, height: int = 7, width: int = 5) -> Tensor:
    """Random maps that are nowhere negative, each of its own total."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, generator=generator, dtype=torch.double) * 3


def test_mass_on_top_is_that_of_numpy() -> None:
    shown, clean = maps(0), maps(1)
    for row, other, found in zip(shown.numpy(), clean.numpy(), mass_on_top(shown, clean, 0.2), strict=True):
        chosen = np.argsort(-other.ravel())[:7]
        assert float(found) == pytest.approx(row.ravel()[chosen].sum() / row.sum())
    flat = torch.ones_like(shown)
    assert mass_on_top(flat, clean, 0.2).tolist() == pytest.approx([0.2] * 4), (
        "what has nothing to do with it"
    )
    assert mass_on_top(torch.zeros_like(shown), clean).tolist() == [0.0] * 4


def test_centers_are_those_of_numpy() -> None:
    shown = maps(2)
    rows, columns = np.mgrid[:7, :5]
    for row, found in zip(shown.numpy(), centers(shown).numpy(), strict=True):
        expected = [(row * side).sum() / row.sum() for side in (rows, columns)]
        assert found == pytest.approx(expected)
    assert centers(torch.zeros(1, 7, 5)).tolist() == [[3.0, 2.0]], "of nothing the middle"


def test_displacement_is_one_in_the_furthest_corner() -> None:
    clean, corner = torch.zeros(1, 7, 5), torch.zeros(1, 7, 5)
    clean[0, 1, 3] = corner[0, 6, 0] = 2.0
    assert float(displacement(corner, clean)) == pytest.approx(1.0)
    assert float(displacement(clean, clean)) == 0.0
    half = torch.zeros(1, 7, 5)
    half[0, 1, 0] = 1.0
    assert float(displacement(half, clean)) == pytest.approx(3 / (5 + 3))


def test_entropy_is_the_logarithm_of_how_many_pixels_are_alike() -> None:
    some = torch.zeros(1, 7, 5)
    some.view(-1)[:28] = 0.3
    assert float(entropy(some)) == pytest.approx(np.log(28)), "3.33 nats of 28 cells, as SHAM has them"
    assert float(entropy(torch.zeros(1, 7, 5))) == 0.0


@pytest.mark.parametrize("function", [mass_on_top, displacement, lambda shown, clean: entropy(shown)])
def test_slopes_are_those_of_central_differences(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    shown, clean = maps(3, 2).requires_grad_(), maps(4, 2)
    assert torch.autograd.gradcheck(lambda given: function(given, clean), (shown,), atol=1e-7)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: mass_on_top(maps(0), maps(0)[:2]), "shapes differ"),
        (lambda: mass_on_top(maps(0), maps(0), 0.0), "share must lie in"),
        (lambda: centers(maps(0)[0]), r"expected maps \[N, H, W\]"),
    ],
)
def test_what_is_no_pair_of_maps_is_refused(call: Callable[[], Tensor], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        call()
