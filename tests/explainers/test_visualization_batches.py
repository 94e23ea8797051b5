"""A batch of units and seeds is what one at a time are; starts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from visualization_samples import SIZE, UNITS, linear, procedure

from benchmark.explainers.visualization import (
    FeatureVisualization,
    Fourier,
    MagnitudeConstrained,
    Pixel,
    Transformations,
    Unit,
    procedures,
)
from benchmark.network import Network

PROCEDURES = ["pixel", "clipped", "adam", "fourier", "maco", "transformed", "everything"]


# A batch is what one seed and one unit at a time are.


PAIRS = list(itertools.product(range(3), range(2)))
RESULTS = ("images", "activations", "gradient_norms", "transparency")


def assert_separable(
    network: Network, fv: FeatureVisualization, pairs: Sequence[tuple[int, int]], tolerance: float
) -> None:
    """Pairs of a unit and a seed in a batch are what they are alone, and no two are alike."""
    seeds = [5, 1]
    batch = fv.optimize(network, UNITS, seeds, snapshots=[2])
    assert batch.images.shape == (3, 2, *SIZE)
    assert batch.activations.shape == batch.gradient_norms.shape == (3, 2, fv.steps)
    assert batch.transparency.shape == (3, 2, 28, 28)
    for row, column in pairs:
        alone = fv.optimize(network, [UNITS[row]], [seeds[column]], snapshots=[2])
        for name in RESULTS:
            found, expected = getattr(batch, name)[row, column], getattr(alone, name)[0, 0]
            scale = max(1.0, float(expected.abs().max()))
            torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale, msg=name)
        torch.testing.assert_close(
            batch.snapshots[2][row, column], alone.snapshots[2][0, 0], rtol=0, atol=tolerance
        )
    for one, other in itertools.combinations(batch.images.flatten(0, 1), 2):
        assert (one - other).abs().max() > 1e-3
    if fv.transformations is None:
        assert (batch.activations[..., -1] > batch.activations[..., 0]).all()


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_batch_is_what_each_is_alone_over_200_steps(double: Network, spectrum: Tensor, name: str) -> None:
    assert_separable(double, procedure(name, spectrum, 200), [(0, 0), (1, 1), (2, 0)], 1e-5)


@pytest.mark.parametrize("name", PROCEDURES)
def test_a_batch_is_what_each_is_alone_in_single_precision(
    single: Network, spectrum: Tensor, name: str
) -> None:
    """Few steps: on some processors a later one takes one of the two runs over a kink of a ReLU."""
    assert_separable(single, procedure(name, spectrum, 5), PAIRS, 1e-6)


@pytest.mark.parametrize("name", PROCEDURES)
def test_company_does_not_change_a_bit(single: Network, spectrum: Tensor, name: str) -> None:
    """In a batch of one shape, a row is the same to the last bit whoever stands in the other rows."""
    fv = procedure(name, spectrum, 30)
    one = fv.optimize(single, [UNITS[0], UNITS[1]], [5, 1])
    other = fv.optimize(single, [UNITS[0], UNITS[2]], [5, 8])
    for result in RESULTS:
        assert torch.equal(getattr(one, result)[0, 0], getattr(other, result)[0, 0]), result
        assert not torch.equal(getattr(one, result)[0, 1], getattr(other, result)[0, 1]), result


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_size_of_a_batch_does_not_matter(
    double: Network, spectrum: Tensor, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are cut anywhere, also within the seeds of a unit."""
    fv = procedure("everything", spectrum, 3)
    whole = fv.optimize(double, UNITS, [2, 0, 1], snapshots=[1])
    monkeypatch.setitem(procedures._ROWS, "cpu", rows)
    cut = fv.optimize(double, UNITS, [2, 0, 1], snapshots=[1])
    for name in RESULTS:
        torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(cut.snapshots[1], whole.snapshots[1], rtol=1e-9, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.permutations(range(3)))
def test_order_and_company_do_not_matter(seeds: list[int], order: list[int]) -> None:
    """Any order of units and any seeds, repeated ones too, place the same images elsewhere."""
    generator = torch.Generator().manual_seed(1)
    network = linear(torch.randn(3, 1, 6, 6, generator=generator))
    fv = FeatureVisualization((1, 6, 6), Fourier(), steps=3, transformations=Transformations(shift=1))
    units = [Unit(index=index) for index in order]
    images = fv.explain(network, units, seeds)
    for (row, unit), (column, seed) in itertools.product(enumerate(units), enumerate(seeds)):
        torch.testing.assert_close(images[row, column], fv.explain(network, [unit], [seed])[0, 0])


def test_only_the_seed_decides(single: Network, spectrum: Tensor) -> None:
    """The global generator is neither used nor moved, nor does it matter whether gradients are on."""
    fv = procedure("everything", spectrum, 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    images = fv.explain(single, UNITS, [3])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    with torch.no_grad():
        again = fv.explain(single, UNITS, [3])
    assert torch.equal(images, again)
    assert not images.requires_grad


# Starts.


def test_starts_are_normal_with_the_given_spread_and_one_per_seed(single: Network, spectrum: Tensor) -> None:
    for parametrization, spread in ((Pixel(), 0.3), (Fourier(), 0.3), (MagnitudeConstrained(spectrum), 1.0)):
        fv = FeatureVisualization(SIZE, parametrization, spread=0.3)
        starts = fv.start(single, range(20))
        assert abs(float(starts.std()) / spread - 1) < 0.05
        assert abs(float(starts.mean())) < 0.05 * spread
        kurtosis = float((starts / starts.std()).pow(4).mean())
        assert abs(kurtosis - 3) < 0.3, "not normal"
        torch.testing.assert_close(fv.start(single, [7, 3]), starts[[7, 3]], rtol=0, atol=0)
        largest = torch.corrcoef(starts.flatten(1)).fill_diagonal_(0).abs().max()
        assert largest < 0.2, "two seeds start alike"


def test_a_pixel_start_without_spread_is_the_mean_colour(double: Network) -> None:
    fv = FeatureVisualization(SIZE, steps=1, spread=0.0, learning_rate=1e-9)
    image = fv.explain(double, [Unit()], [0])
    torch.testing.assert_close(image, torch.full_like(image, 0.286), rtol=0, atol=1e-6)
