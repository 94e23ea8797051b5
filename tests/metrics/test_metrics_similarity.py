"""Similarities and behavior metrics agree with scikit-image, NumPy and their own definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity
from torch import Tensor

from benchmark.metrics.behaviour import accuracy_drop, prediction_kept, probability_change
from benchmark.metrics.similarity import l2, linf, mse, pcc, ssim, top_k_intersection

Similarity = Callable[[Tensor, Tensor], Tensor]
ALL: list[Similarity] = [pcc, mse, linf, l2, ssim, top_k_intersection]
SYMMETRIC: list[Similarity] = [pcc, mse, linf, l2, top_k_intersection]
quickly = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 2**32 - 1)


def pair(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Two random pictures that share half of their content."""
    generator = torch.Generator().manual_seed(seed)
    first, noise = torch.rand(2, *shape, generator=generator).unbind()
    return first, (first + noise) / 2


def sum_one(maps: Tensor) -> Tensor:
    return maps / maps.sum((1, 2), keepdim=True)


def skimage_ssim(image: Tensor, reference: Tensor, data_range: float) -> float:
    return float(
        structural_similarity(  # type: ignore[no-untyped-call,unused-ignore]
            image.double().numpy(),
            reference.double().numpy(),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


@pytest.mark.parametrize("size", [(11, 11), (28, 28), (40, 17)])
@pytest.mark.parametrize("data_range", [1.0, 0.3])
def test_ssim_equals_skimage_on_maps(size: tuple[int, int], data_range: float) -> None:
    image, reference = pair(0, 4, *size)
    expected = [skimage_ssim(a, b, data_range) for a, b in zip(image, reference, strict=True)]
    assert ssim(image, reference, data_range).tolist() == pytest.approx(expected, abs=1e-12)


def test_ssim_of_pictures_is_the_mean_over_channels() -> None:
    image, reference = pair(1, 2, 3, 20, 24)
    expected = [
        np.mean([skimage_ssim(image[n, c], reference[n, c], 1.0) for c in range(3)]) for n in range(2)
    ]
    assert ssim(image, reference, 1.0).tolist() == pytest.approx(expected, abs=1e-12)


def test_ssim_takes_the_range_of_each_reference() -> None:
    image, reference = pair(2, 3, 16, 16)
    scale = torch.tensor([1.0, 1e-3, 50.0])[:, None, None]
    image, reference = image * scale, reference * scale
    expected = [skimage_ssim(a, b, float(b.max())) for a, b in zip(image, reference, strict=True)]
    assert ssim(image, reference).tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.equal(ssim(image, reference, reference.amax((1, 2))), ssim(image, reference))


def test_ssim_with_range_one_calls_unrelated_normalized_maps_equal() -> None:
    # The trap that the default data range avoids.
    generator = torch.Generator().manual_seed(3)
    image, reference = (sum_one(torch.rand(8, 28, 28, generator=generator)) for _ in range(2))
    assert (ssim(image, reference, 1.0) > 0.98).all()
    assert (ssim(image, reference) < 0.2).all()


def test_ssim_of_a_zero_reference_is_the_limit() -> None:
    zero = torch.zeros(3, 12, 12)
    image = torch.stack([torch.zeros(12, 12), torch.ones(12, 12), torch.rand(12, 12)])
    assert ssim(image, zero).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("data_range", [0.0, -1.0, torch.ones(3)])
def test_ssim_refuses_a_wrong_data_range(data_range: float | Tensor) -> None:
    image, reference = pair(4, 2, 12, 12)
    with pytest.raises(ValueError, match="data_range"):
        ssim(image, reference, data_range)


def test_ssim_refuses_negative_references_and_small_images() -> None:
    with pytest.raises(ValueError, match="negative"):
        ssim(-torch.ones(1, 12, 12), -torch.ones(1, 12, 12))
    with pytest.raises(ValueError, match="11 pixels a side, got 10x30"):
        ssim(torch.rand(1, 10, 30), torch.rand(1, 10, 30))


def test_pcc_equals_numpy() -> None:
    first, second = pair(5, 6, 3, 9, 7)
    expected = [
        np.corrcoef(a.double().flatten().numpy(), b.double().flatten().numpy())[0, 1]
        for a, b in zip(first, second, strict=True)
    ]
    assert pcc(first, second).tolist() == pytest.approx(expected, abs=1e-12)


def test_pcc_of_a_constant_is_zero() -> None:
    # A tenth has no exact float, so that subtracting the mean leaves rounding instead of zeros.
    constant = torch.full((1, 7, 7), 0.1)
    other = torch.rand(1, 7, 7)
    assert pcc(constant, other).item() == 0
    assert pcc(other, constant).item() == 0
    assert pcc(constant, constant).item() == 0


@quickly
@given(seeds, st.floats(1e-6, 1e6), st.floats(-10, 10))
def test_pcc_ignores_scale_and_offset(seed: int, scale: float, offset: float) -> None:
    first, second = (part.double() for part in pair(seed, 3, 8, 8))
    torch.testing.assert_close(pcc(first * scale + offset, second), pcc(first, second), atol=1e-6, rtol=0)
    torch.testing.assert_close(pcc(-first, second), -pcc(first, second))


def test_distances_follow_their_definitions() -> None:
    first = torch.zeros(2, 1, 2, 2)
    second = torch.tensor([[[[3.0, 0.0], [0.0, -4.0]]], [[[0.0, 0.0], [0.0, 0.0]]]])
    assert mse(first, second).tolist() == [25 / 4, 0]
    assert l2(first, second).tolist() == [5, 0]
    assert linf(first, second).tolist() == [4, 0]


@quickly
@given(seeds)
def test_top_k_intersection_equals_sets(seed: int) -> None:
    first, second = pair(seed, 3, 9, 8)
    k = round(0.25 * 72)
    expected = []
    for a, b in zip(first.flatten(1), second.flatten(1), strict=True):
        best_a = set(np.argsort(-a.numpy(), kind="stable")[:k].tolist())
        best_b = set(np.argsort(-b.numpy(), kind="stable")[:k].tolist())
        expected.append(len(best_a & best_b) / k)
    assert top_k_intersection(first, second, 0.25).tolist() == expected


def test_top_k_intersection_of_disjoint_and_equal_maps() -> None:
    ramp = torch.arange(100.0).reshape(1, 10, 10)
    assert top_k_intersection(ramp, -ramp).item() == 0
    assert top_k_intersection(ramp, ramp).item() == 1
    assert top_k_intersection(ramp, -ramp, share=1).item() == 1
    # A share that rounds to no pixel still means one.
    assert top_k_intersection(ramp, ramp, share=1e-9).item() == 1


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_top_k_intersection_refuses_a_wrong_share(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        top_k_intersection(torch.rand(1, 3, 3), torch.rand(1, 3, 3), share)
    with pytest.raises(ValueError, match="maps"):
        top_k_intersection(torch.rand(1, 1, 3, 3), torch.rand(1, 1, 3, 3))


@quickly
@given(seeds)
def test_bounds_and_identity(seed: int) -> None:
    first, second = pair(seed, 2, 12, 12)
    for similarity in (pcc, ssim, top_k_intersection):
        assert (similarity(first, second).abs() <= 1).all()
        torch.testing.assert_close(similarity(first, first), torch.ones(2, dtype=torch.float64))
    for distance in (mse, linf, l2):
        assert (distance(first, second) >= 0).all()
        assert (distance(first, first) == 0).all()


@quickly
@given(seeds)
def test_symmetry(seed: int) -> None:
    first, second = pair(seed, 2, 12, 12)
    for similarity in SYMMETRIC:
        torch.testing.assert_close(similarity(first, second), similarity(second, first))
    torch.testing.assert_close(ssim(first, second, 1.0), ssim(second, first, 1.0))


@quickly
@given(seeds, st.permutations(range(5)))
def test_samples_do_not_interact(seed: int, order: list[int]) -> None:
    first, second = pair(seed, 5, 12, 12)
    for similarity in ALL:
        torch.testing.assert_close(similarity(first[order], second[order]), similarity(first, second)[order])


@pytest.mark.parametrize("similarity", ALL)
def test_nan_spoils_its_own_sample_only(similarity: Similarity) -> None:
    first, second = pair(6, 3, 12, 12)
    first[1, 0, 0] = torch.nan
    assert similarity(first, second).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("similarity", ALL)
def test_shapes_types_and_empty_batches(similarity: Similarity) -> None:
    first, second = pair(7, 3, 12, 12)
    assert similarity(first, second).shape == (3,)
    assert similarity(first, second).dtype == torch.float64
    assert similarity(first[:0], second[:0]).shape == (0,)
    with pytest.raises(ValueError, match="shapes differ"):
        similarity(first, second[:2])
    with pytest.raises(ValueError):
        similarity(first[0], second[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("similarity", ALL)
def test_devices_agree(similarity: Similarity) -> None:
    first, second = pair(8, 3, 28, 28)
    on_device = similarity(first.cuda(), second.cuda())
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), similarity(first, second))


def test_prediction_kept() -> None:
    logits = torch.tensor([[2.0, 1.0], [1.0, 2.0], [torch.nan, 1.0], [torch.inf, 1.0]])
    assert prediction_kept(logits, torch.tensor([0, 0, 0, 0])).tolist() == [
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(ValueError, match="labels"):
        prediction_kept(logits, torch.tensor([0]))
    with pytest.raises(ValueError, match="logits"):
        prediction_kept(logits[0], torch.tensor([0, 0]))


def test_probability_change() -> None:
    even, sure = torch.zeros(1, 2), torch.tensor([[100.0, 0.0]])
    assert probability_change(sure, even).item() == pytest.approx(0.5)
    assert probability_change(even, even + 7).item() == 0
    assert probability_change(even * torch.nan, even).isnan().all()
    with pytest.raises(ValueError, match="shapes differ"):
        probability_change(even, torch.zeros(1, 3))


def test_accuracy_drop() -> None:
    right, wrong = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    before = torch.stack([right, right, wrong, wrong, right])
    after = torch.stack([right, wrong, right, wrong, right * torch.nan])
    labels = torch.zeros(5, dtype=torch.long)
    assert accuracy_drop(after, before, labels).tolist() == [0, 1, -1, 0, 1]
