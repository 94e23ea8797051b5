"""Triggers against their formulas: what is applied, what is refused and by which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from torch import Tensor

from benchmark.api import PATTERNS, Trigger, patch_trigger
from benchmark.methods.triggers import patch

SIZE = (2, 7, 5)
Array = NDArray[np.float64]


def drawn(*shape: int, seed: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform values in double precision."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * values


def identity(height: int, width: int) -> Tensor:
    """Positions that read each pixel from its own place."""
    positions = torch.zeros(height, width, 2, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            positions[row, column, 0] = -1 + 2 * column / (width - 1)
            positions[row, column, 1] = -1 + 2 * row / (height - 1)
    return positions


def warped(images: Tensor, positions: Tensor) -> Array:
    """Scipy's bilinear interpolation; beyond the border the border is read."""
    height, width = images.shape[2:]
    rows = (positions[..., 1].numpy() + 1) / 2 * (height - 1)
    columns = (positions[..., 0].numpy() + 1) / 2 * (width - 1)
    return np.array(
        [
            [map_coordinates(plane.numpy(), [rows, columns], order=1, mode="nearest") for plane in image]
            for image in images
        ]
    )


IMAGES = drawn(3, *SIZE, seed=1)


# What is applied.


def test_a_patch_replaces_its_pixels_and_no_others() -> None:
    trigger = patch_trigger("checkerboard", (4, 1), 3, SIZE)
    found, expected = trigger.apply(IMAGES), IMAGES.clone()
    for row in range(3):
        for column in range(3):
            expected[:, :, 4 + row, 1 + column] = float((row + column) % 2 == 0)
    assert torch.equal(found, expected)


def test_a_blend_is_a_mean_weighted_by_the_opacity() -> None:
    opacity, picture = drawn(*SIZE, seed=2), drawn(*SIZE, seed=3)
    found = Trigger(opacity=opacity, picture=picture).apply(IMAGES)
    for index in np.ndindex(*IMAGES.shape):
        share = float(opacity[index[1:]])
        expected = (1 - share) * float(IMAGES[index]) + share * float(picture[index[1:]])
        assert float(found[index]) == pytest.approx(expected, abs=1e-12)


def test_an_addition_is_added_and_clipped() -> None:
    addition = drawn(*SIZE, seed=4, low=-2, high=2)
    found = Trigger(addition=addition).apply(IMAGES)
    assert np.allclose(found, np.clip(IMAGES.numpy() + addition.numpy(), 0, 1))
    assert found.min() == 0 and found.max() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positions_of_their_own_leave_images_as_they_are(dtype: torch.dtype) -> None:
    images = IMAGES.to(dtype)
    found = Trigger(positions=identity(*SIZE[1:])).apply(images)
    torch.testing.assert_close(found, images, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 9), st.floats(0.1, 1.8))
def test_a_warp_is_scipys_bilinear_interpolation(seed: int, height: int, width: int, reach: float) -> None:
    """Positions may lie beyond the border."""
    images = drawn(2, 3, height, width, seed=seed)
    positions = drawn(height, width, 2, seed=seed + 1, low=-reach, high=reach)
    found = Trigger(positions=positions).apply(images)
    np.testing.assert_allclose(found.numpy(), warped(images, positions), rtol=0, atol=1e-10)


def test_a_shift_by_one_column_reads_the_neighbour() -> None:
    """Says which of x and y is which, and in which direction."""
    positions = identity(*SIZE[1:])
    positions[..., 0] += 2 / (SIZE[2] - 1)
    found = Trigger(positions=positions).apply(IMAGES)
    torch.testing.assert_close(found[..., :-1], IMAGES[..., 1:], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[..., -1], IMAGES[..., -1], rtol=0, atol=1e-12)


def test_the_warp_comes_first_then_the_picture_then_the_addition() -> None:
    opacity, picture = drawn(*SIZE, seed=5), drawn(*SIZE, seed=6)
    addition = drawn(*SIZE, seed=7, low=-0.5, high=0.5)
    positions = drawn(*SIZE[1:], 2, seed=8, low=-1, high=1)
    found = Trigger(opacity, picture, addition, positions).apply(IMAGES)
    shown = warped(IMAGES, positions)
    shown = (1 - opacity.numpy()) * shown + opacity.numpy() * picture.numpy() + addition.numpy()
    np.testing.assert_allclose(found.numpy(), np.clip(shown, 0, 1), rtol=0, atol=1e-10)


FULL: dict[str, Tensor] = {
    "opacity": drawn(*SIZE, seed=9),
    "picture": drawn(*SIZE, seed=10),
    "addition": drawn(*SIZE, seed=11, low=-9, high=9),
    "positions": drawn(*SIZE[1:], 2, seed=12, low=-9, high=9),
}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([("opacity", "picture"), ("addition",), ("positions",), tuple(FULL)]),
    st.integers(0, 4),
    st.booleans(),
)
def test_images_stay_in_the_unit_interval_and_never_interact(
    names: tuple[str, ...], count: int, single: bool
) -> None:
    """No image, one or many, in either precision; the images themselves are not changed."""
    images = drawn(count, *SIZE, seed=count).to(torch.float32 if single else torch.float64)
    before = images.clone()
    trigger = Trigger(**{name: FULL[name] for name in names})
    found = trigger.apply(images)
    assert found.shape == images.shape and found.dtype == images.dtype
    assert ((found >= 0) & (found <= 1)).all()
    for image, alone in zip(found, images, strict=True):
        torch.testing.assert_close(image, trigger.apply(alone[None])[0], rtol=0, atol=1e-6)
    assert torch.equal(images, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_trigger_follows_the_images_to_their_device() -> None:
    found = Trigger(**FULL).apply(IMAGES.cuda())
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), Trigger(**FULL).apply(IMAGES), rtol=0, atol=1e-10)


# Tensors.


@pytest.mark.parametrize("names", [("opacity", "picture"), ("addition",), ("positions",), tuple(FULL)])
def test_a_trigger_is_its_tensors(names: tuple[str, ...]) -> None:
    trigger = Trigger(**{name: FULL[name] for name in names})
    assert set(trigger.tensors()) == set(names)
    again = Trigger.of(trigger.tensors())
    assert again is not None and again.tensors().keys() == trigger.tensors().keys()
    assert torch.equal(again.apply(IMAGES), trigger.apply(IMAGES))
    assert trigger.problem(SIZE) == ""


def test_no_tensors_are_no_trigger() -> None:
    assert Trigger.of({}) is None


# What is refused.


def with_value(name: str, value: float) -> Tensor:
    """A tensor with one value replaced."""
    changed = FULL[name].clone()
    changed.view(-1)[3] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"opacity": None}, "its opacity and its picture go together: give both or none"),
        ({"picture": None}, "its opacity and its picture go together: give both or none"),
        (dict.fromkeys(FULL), "it does nothing: give opacity and picture, addition, or positions"),
        ({"addition": [0.5]}, "its addition must be a tensor, not list"),
        ({"picture": np.zeros(SIZE)}, "its picture must be a tensor, not ndarray"),
        ({"positions": 1.0}, "its positions must be a tensor, not float"),
        ({"opacity": drawn(7, 5)}, "its opacity has shape [7, 5] instead of [2, 7, 5]"),
        ({"picture": drawn(2, 8, 5)}, "its picture has shape [2, 8, 5] instead of [2, 7, 5]"),
        ({"addition": drawn(1, 2, 7, 5)}, "its addition has shape [1, 2, 7, 5] instead of [2, 7, 5]"),
        ({"positions": drawn(5, 7, 2)}, "its positions has shape [5, 7, 2] instead of [7, 5, 2]"),
        ({"opacity": with_value("opacity", 1.01)}, "its opacity leaves [0, 1]"),
        ({"opacity": with_value("opacity", -0.01)}, "its opacity leaves [0, 1]"),
        ({"picture": with_value("picture", 1.01)}, "its picture leaves [0, 1]"),
        ({"picture": with_value("picture", -1e-3)}, "its picture leaves [0, 1]"),
        *(
            ({name: with_value(name, value)}, f"its {name} holds values that are NaN or infinite")
            for name in FULL
            for value in (float("nan"), float("inf"))
        ),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    assert Trigger(**{**FULL, **changes}).problem(SIZE) == words


def test_values_at_the_ends_of_the_unit_interval_are_right() -> None:
    trigger = Trigger(opacity=torch.ones(SIZE), picture=torch.zeros(SIZE))
    assert trigger.problem(SIZE) == ""


# Patches.


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [
        ("square", ["###", "###", "###"]),
        ("checkerboard", ["#.#", ".#.", "#.#"]),
        ("cross", ["#.#", ".#.", "#.#"]),
        ("checkerboard", ["#.#.", ".#.#", "#.#.", ".#.#"]),
        ("cross", ["#..#", ".##.", ".##.", "#..#"]),
        ("cross", ["#...#", ".#.#.", "..#..", ".#.#.", "#...#"]),
        ("square", ["#"]),
        ("cross", ["#"]),
        ("checkerboard", ["#"]),
    ],
)
def test_patterns_are_what_they_are_called(pattern: str, shown: list[str]) -> None:
    values = [[float(mark == "#") for mark in line] for line in shown]
    assert patch(pattern, len(shown), len(shown[0])).tolist() == values


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("extent", range(1, 7))
def test_a_pattern_looks_the_same_from_left_and_right(pattern: str, extent: int) -> None:
    found = patch(pattern, extent, extent)
    assert found.shape == (extent, extent) and set(found.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(found, found.T)
    if pattern != "checkerboard" or extent % 2:
        assert torch.equal(found, found.flip(1)) and torch.equal(found, found.flip(0))


def test_an_unknown_pattern_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there is no pattern 'disc'; the patterns are square, checkerboard"):
        patch("disc", 3, 3)
    with pytest.raises(ValueError, match="there is no pattern 'disc'"):
        patch_trigger("disc", (0, 0), 3, SIZE)


@given(
    st.integers(-2, 9),
    st.integers(-2, 9),
    st.integers(-1, 9),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_a_patch_lies_within_the_image_or_is_refused(
    row: int, column: int, extent: int, height: int, width: int
) -> None:
    size = (2, height, width)
    pixels = {(row + i, column + j) for i in range(extent) for j in range(extent)}
    inside = bool(pixels) and all(0 <= i < height and 0 <= j < width for i, j in pixels)
    if inside:
        trigger = patch_trigger("square", (row, column), extent, size)
        assert trigger.problem(size) == "" and trigger.opacity is not None
        marked = [{(int(i), int(j)) for i, j in plane.nonzero()} for plane in trigger.opacity]
        assert marked == [pixels, pixels]
    else:
        with pytest.raises(ValueError) as raised:
            patch_trigger("square", (row, column), extent, size)
        assert str(raised.value) == (
            f"a patch of {extent}x{extent} pixels at row {row}, column {column} does not lie within an image "
            f"of {height}x{width}"
        )
