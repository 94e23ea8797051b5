"""Transformations, pixel by pixel."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from visualization_samples import magnitudes, plain, transformed

from benchmark.explainers.visualization import Fourier, MagnitudeConstrained, Pixel, Transformations

STILL = Transformations(rotations=(), scale=(1.0, 1.0), shift=0)


def numbers(*values: float) -> Tensor:
    """Random numbers of one transformation that are none."""
    return torch.tensor([values], dtype=torch.double)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 9), st.integers(2, 9), st.sampled_from([0.0, 0.5]))
def test_transformations_are_the_pixelwise_ones(seed: int, height: int, width: int, fill: float) -> None:
    """Of images of any shape, each its own transformation."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, height, width, generator=generator, dtype=torch.double)
    settings = Transformations((30.0, 15.0), (0.6, 1.3), 2, fill=fill)
    uniform, noise = settings.draw(3, (2, height, width), generator)
    assert noise is None
    uniform = uniform.double()
    found = settings.apply(images, uniform)
    for image, result, own in zip(images, found, uniform, strict=True):
        torch.testing.assert_close(result, transformed(image, settings, own), rtol=0, atol=1e-9)


def test_no_transformation_is_the_identity() -> None:
    images = torch.rand(4, 3, 7, 5, dtype=torch.double)
    for still, count in ((STILL, 3), (replace(STILL, rotations=(0.0, 0.0)), 5)):
        assert still.numbers == count
        found = still.apply(images, torch.rand(4, count))
        torch.testing.assert_close(found, images, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, 2), (-1, 1), (0, 0), (-2, -2)])
def test_a_shift_moves_by_whole_pixels_and_fills_with_grey(dx: int, dy: int) -> None:
    """The content moves against the numbers: left for a positive first one, up for a second one."""
    images = torch.rand(1, 1, 6, 8, dtype=torch.double)
    uniform = numbers(0.3, (dx + 2.5) / 5, (dy + 2.5) / 5)
    found = replace(STILL, shift=2).apply(images, uniform)
    expected = torch.full_like(images, 0.5)
    for row, column in itertools.product(range(6), range(8)):
        if 0 <= row + dy < 6 and 0 <= column + dx < 8:
            expected[0, 0, row, column] = images[0, 0, row + dy, column + dx]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_all_shifts_are_equally_likely_and_none_is_larger() -> None:
    settings = replace(STILL, shift=2)
    uniform, _ = settings.draw(5000, (1, 9, 9), torch.Generator().manual_seed(1))
    dot = torch.zeros(1, 1, 9, 9)
    dot[0, 0, 4, 4] = 1
    found = replace(settings, fill=0.0).apply(dot.expand(5000, 1, 9, 9), uniform)
    places = found.flatten(1).argmax(1)
    rows, columns = places // 9, places % 9
    assert torch.allclose(found.flatten(1).amax(1), torch.ones(()), atol=1e-4)
    for place in (rows, columns):
        share = torch.bincount(place, minlength=9) / 5000
        assert (share[:2] == 0).all() and (share[7:] == 0).all()
        assert (share[2:7] - 0.2).abs().max() < 0.03


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("rotations", [(90.0,), (60.0, 30.0)])
def test_a_quarter_turn_is_rot90(size: int, rotations: tuple[float, ...]) -> None:
    """Rotations add up; the largest number turns counterclockwise."""
    images = torch.rand(2, 1, size, size, dtype=torch.double)
    settings = replace(STILL, rotations=rotations)
    uniform = torch.tensor([[1.0] * len(rotations) + [0, 0, 0], [0.0] * len(rotations) + [0, 0, 0]])
    found = settings.apply(images, uniform)
    torch.testing.assert_close(found[0], torch.rot90(images[0], 1, (1, 2)), rtol=0, atol=1e-9)
    torch.testing.assert_close(found[1], torch.rot90(images[1], -1, (1, 2)), rtol=0, atol=1e-9)


def test_an_oblong_image_turns_without_being_stretched() -> None:
    images = torch.full((1, 1, 6, 10), 0.5, dtype=torch.double)
    images[:, :, :, 2:8] = torch.rand(6, 6, dtype=torch.double)
    found = replace(STILL, rotations=(90.0,)).apply(images, numbers(1, 0, 0, 0))
    expected = images.clone()
    expected[:, :, :, 2:8] = torch.rot90(images[:, :, :, 2:8], 1, (2, 3))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_half_the_scale_is_half_the_object() -> None:
    images = torch.zeros(1, 1, 16, 16, dtype=torch.double)
    images[:, :, 4:12, 4:12] = 1
    found = replace(STILL, scale=(0.5, 0.5), fill=0.0).apply(images, numbers(0.7, 0, 0))
    expected = torch.zeros_like(images)
    expected[:, :, 6:10, 6:10] = 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_noise_is_added_with_its_deviation_after_everything_else() -> None:
    settings = replace(STILL, noise=0.2, shift=1)
    uniform, noise = settings.draw(3, (2, 6, 6), torch.Generator().manual_seed(1))
    assert noise is not None and noise.shape == (3, 2, 6, 6)
    images = torch.rand(3, 2, 6, 6)
    moved = settings.apply(images, uniform, noise) - settings.apply(images, uniform)
    torch.testing.assert_close(moved, 0.2 * noise)
    assert 0.8 < noise.std() < 1.2


def test_transformations_are_differentiable() -> None:
    """By finite differences, in the images and through the noise."""
    settings = Transformations((20.0, 20.0), (0.75, 1.2), 1, noise=0.1)
    uniform, noise = settings.draw(2, (1, 5, 4), torch.Generator().manual_seed(4))
    images = torch.rand(2, 1, 5, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images: settings.apply(images, uniform.double(), noise), images)


@pytest.mark.parametrize("name", ["pixel", "fourier", "maco"])
def test_parametrizations_are_differentiable(name: str) -> None:
    maco = MagnitudeConstrained(torch.from_numpy(magnitudes(3, 4, 6)))
    parametrization = {"pixel": Pixel(), "fourier": Fourier(), "maco": maco}[name]
    generator = torch.Generator().manual_seed(1)
    start = parametrization.start(plain(3), (3, 4, 6), 1.0, generator).double()[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda values: parametrization.decode(plain(3), values), start)


def test_transformations_are_derived_twice() -> None:
    """As attacks on what an ascent shows do; PyTorch 2.11 cannot, of its own function."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 6, 5, generator=generator, dtype=torch.double).requires_grad_()
    settings = Transformations((30.0,), (0.6, 1.3), 1)
    uniform, _ = settings.draw(2, (1, 6, 5), generator)
    assert torch.autograd.gradcheck(lambda rows: settings.apply(rows, uniform), (images,))
    assert torch.autograd.gradgradcheck(lambda rows: settings.apply(rows, uniform), (images,))


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3), (8, 9)])
def test_a_window_is_a_crop_from_anywhere_in_the_image(height: int, width: int) -> None:
    """Every place that it may have is met, as it is in the image, and nothing beyond it."""
    images = torch.rand(1, 2, 8, 9, dtype=torch.double)
    rows, columns = 8 - height, 9 - width
    crops = {
        (top, left): images[:, :, top : top + height, left : left + width]
        for top, left in itertools.product(range(rows + 1), range(columns + 1))
    }
    seen = set()
    for u, v in itertools.product(torch.linspace(0, 0.999, 12).tolist(), repeat=2):
        found = STILL.apply(images, numbers(0.3, u, v), window=(height, width))
        (place,) = (place for place, crop in crops.items() if torch.allclose(found, crop, atol=1e-9))
        seen.add(place)
    assert seen == crops.keys()


def test_a_window_turns_and_scales_as_the_image_around_it_does() -> None:
    """The middle of what the whole image gives, where there is no shift to speak of."""
    images = torch.rand(1, 1, 12, 12, dtype=torch.double)
    settings = replace(STILL, rotations=(40.0,), scale=(0.7, 1.2))
    middle = numbers(0.8, 0.6, 0.5, 0.5)
    whole = settings.apply(images, middle)
    found = settings.apply(images, middle, window=(6, 8))
    torch.testing.assert_close(found, whole[:, :, 3:9, 2:10], rtol=0, atol=1e-9)
