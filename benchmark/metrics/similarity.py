"""Every similarity is computed per sample, in float64, on the device of its first argument.

All functions take two tensors of equal shape, maps ``[N, H, W]`` or pictures ``[N, C, H, W]``, and
return ``Tensor[N]``. Samples never interact: a sample's number does not depend on its neighbors in
the batch. A NaN in a sample gives NaN for that sample alone, so that a broken explanation can never
pass for a similar one.
"""

from __future__ import annotations

import torch
from torch import Tensor

SSIM_WINDOW = 11
"""Height and width of the Gaussian window of SSIM, in pixels (Wang et al. 2004, section III-B)."""

SSIM_SIGMA = 1.5
"""Standard deviation of that window, in pixels (Wang et al. 2004, section III-B)."""

_SSIM_K1 = 0.01
_SSIM_K2 = 0.03


def pcc(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation coefficient over all values of a sample.

    A constant sample correlates with nothing: where either side is constant the result is 0, by
    convention.

    Args:
        first: maps ``[N, H, W]`` or pictures ``[N, C, H, W]``.
        second: the same shape.

    Returns:
        ``Tensor[N]`` in [-1, 1]; 1 for maps that agree up to scale and offset.

    Raises:
        ValueError: if the shapes differ or are not three- or four-dimensional.
    """
    first, second = _rows(first, second)
    constant = (first.amax(1) == first.amin(1)) | (second.amax(1) == second.amin(1))
    first = first - first.mean(1, keepdim=True)
    second = second - second.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(first, dim=1) * torch.linalg.vector_norm(second, dim=1)
    correlation = ((first * second).sum(1) / norms).clamp(-1, 1)
    # Rounding leaves a constant sample with a tiny norm instead of none, hence the exact test
    # above.
    return torch.where(constant | (norms == 0), 0.0, correlation)


def mse(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared error over all values of a sample.

    Args:
        first: maps ``[N, H, W]`` or pictures ``[N, C, H, W]``.
        second: the same shape.

    Returns:
        ``Tensor[N]``, at least 0, in squared units of the inputs.

    Raises:
        ValueError: if the shapes differ or are not three- or four-dimensional.
    """
    first, second = _rows(first, second)
    return (first - second).square().mean(1)


def linf(first: Tensor, second: Tensor) -> Tensor:
    """Largest absolute difference of any value of a sample (the L-infinity distance).

    Args:
        first: maps ``[N, H, W]`` or pictures ``[N, C, H, W]``.
        second: the same shape.

    Returns:
        ``Tensor[N]``, at least 0, in units of the inputs.

    Raises:
        ValueError: if the shapes differ or are not three- or four-dimensional.
    """
    first, second = _rows(first, second)
    return (first - second).abs().amax(1)


def l2(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distance between the flattened samples.

    Args:
        first: maps ``[N, H, W]`` or pictures ``[N, C, H, W]``.
        second: the same shape.

    Returns:
        ``Tensor[N]``, at least 0, in units of the inputs.

    Raises:
        ValueError: if the shapes differ or are not three- or four-dimensional.
    """
    first, second = _rows(first, second)
    distance: Tensor = torch.linalg.vector_norm(first - second, dim=1)
    return distance


def top_k_intersection(first: Tensor, second: Tensor, share: float = 0.1) -> Tensor:
    """Share of the k largest pixels of one map that are among the k largest of the other.

    Here k is ``round(share * H * W)``, at least 1. Equal values are ordered by their position, row
    by row, so that the result is the same on every device. Source: Ghorbani, Abid and Zou 2019,
    "Interpretation of Neural Networks Is Fragile", section "Metrics for interpretability
    similarity".

    Args:
        first: maps ``[N, H, W]``.
        second: the same shape.
        share: share of the pixels that count as most important, in (0, 1].

    Returns:
        ``Tensor[N]`` in [0, 1]; 1 where the same pixels are the most important ones.

    Raises:
        ValueError: if the shapes differ, are not ``[N, H, W]``, or the share is outside (0, 1].
    """
    if first.ndim != 3:
        raise ValueError(f"top_k_intersection takes maps [N, H, W], got shape {tuple(first.shape)}")
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], got {share}")
    first, second = _rows(first, second)
    k = max(1, round(share * first.shape[1]))
    common = (_largest(first, k) & _largest(second, k)).sum(1).to(torch.float64) / k
    broken = first.isnan().any(1) | second.isnan().any(1)
    return torch.where(broken, torch.nan, common)


def ssim(image: Tensor, reference: Tensor, data_range: float | Tensor | None = None) -> Tensor:
    """Structural similarity with the original paper's 11x11 Gaussian window of sigma 1.5.

    Covariances are population covariances, and the mean runs over the pixels whose window lies
    fully inside the image and then over channels. Libraries' defaults differ from this by up to
    0.05. Maps normalized to sum 1 have values around ``1 / (H * W)``: with a data range of 1 the
    stabilizing constants would drown them and unrelated maps would score 0.98. The default range is
    therefore the reference's own maximum.

    Source: Wang, Bovik, Sheikh and Simoncelli 2004, "Image Quality Assessment: From Error
    Visibility to Structural Similarity", equation 13. Where a stabilizing constant vanishes (a
    reference that is zero everywhere), the limit for a vanishing constant is taken.

    Args:
        image: maps ``[N, H, W]`` or pictures ``[N, C, H, W]``, at least 11 pixels high and wide.
        reference: the same shape.
        data_range: the span of possible values, one number or ``Tensor[N]``, above 0; ``None``
            takes each reference's maximum over pixels and channels, which makes the function
            asymmetric.

    Returns:
        ``Tensor[N]`` in [-1, 1]; 1 for equal images.

    Raises:
        ValueError: if the shapes differ, an image is smaller than the window, or a data range is
            negative (or zero, where given).
    """
    _check_shapes(image, reference)
    if min(image.shape[-2:]) < SSIM_WINDOW:
        size = "x".join(str(side) for side in image.shape[-2:])
        raise ValueError(f"SSIM needs images of at least {SSIM_WINDOW} pixels a side, got {size}")
    image = _pictures(image)
    reference = _pictures(reference).to(image.device)
    span = _span(reference, data_range)
    luminance_constant = (_SSIM_K1 * span).square()
    structure_constant = (_SSIM_K2 * span).square()

    mean_image, mean_reference = _window_mean(image), _window_mean(reference)
    variance_image = _window_mean(image * image) - mean_image.square()
    variance_reference = _window_mean(reference * reference) - mean_reference.square()
    covariance = _window_mean(image * reference) - mean_image * mean_reference

    luminance = _ratio(
        2 * mean_image * mean_reference + luminance_constant,
        mean_image.square() + mean_reference.square() + luminance_constant,
    )
    structure = _ratio(
        2 * covariance + structure_constant,
        variance_image + variance_reference + structure_constant,
    )
    return (luminance * structure).mean((1, 2, 3))


def _check_shapes(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(f"shapes differ: {tuple(first.shape)} and {tuple(second.shape)}")
    if first.ndim not in (3, 4):
        raise ValueError(f"expected [N, H, W] or [N, C, H, W], got shape {tuple(first.shape)}")


def _rows(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors as float64 rows ``[N, values]`` on the first one's device."""
    _check_shapes(first, second)
    return (
        first.to(torch.float64).flatten(1),
        second.to(first.device, torch.float64).flatten(1),
    )


def _pictures(values: Tensor) -> Tensor:
    """Maps ``[N, H, W]`` become ``[N, 1, H, W]``; everything becomes float64."""
    return (values.unsqueeze(1) if values.ndim == 3 else values).to(torch.float64)


def _largest(rows: Tensor, k: int) -> Tensor:
    """Mask ``[N, values]`` of the k largest values of each row."""
    # A stable sort, because the order in which topk returns equal values differs between devices.
    positions = rows.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.zeros_like(rows, dtype=torch.bool).scatter_(1, positions, True)


def _span(reference: Tensor, data_range: float | Tensor | None) -> Tensor:
    """The data range of each sample as ``[N, 1, 1, 1]``; ``[1, 1, 1, 1]`` where one serves all."""
    if data_range is None:
        span = reference.amax((1, 2, 3))
        if bool((span < 0).any()):
            raise ValueError("a reference is negative everywhere: give data_range explicitly")
    else:
        span = torch.as_tensor(data_range, dtype=torch.float64, device=reference.device).reshape(-1)
        if span.numel() not in (1, len(reference)):
            raise ValueError(f"data_range has {span.numel()} values for {len(reference)} samples")
        if not bool((span > 0).all()):
            raise ValueError("data_range must be above 0")
    return span.reshape(-1, 1, 1, 1)


def _gaussian_band(size: int, device: torch.device) -> Tensor:
    """Matrix ``[size - 10, size]`` with the normalized window at each valid position."""
    offset = torch.arange(SSIM_WINDOW, dtype=torch.float64, device=device) - SSIM_WINDOW // 2
    window = torch.exp(-offset.square() / (2 * SSIM_SIGMA**2))
    window = window / window.sum()
    valid = size - SSIM_WINDOW + 1
    band = torch.zeros(valid, size, dtype=torch.float64, device=device)
    columns = torch.arange(valid, device=device)[:, None] + torch.arange(SSIM_WINDOW, device=device)
    return band.scatter_(1, columns, window.expand(valid, -1))


def _window_mean(pictures: Tensor) -> Tensor:
    """Gaussian-weighted mean around every pixel whose window lies inside the picture."""
    # The window is separable: two products with a banded matrix are faster than a float64
    # convolution.
    rows = _gaussian_band(pictures.shape[-2], pictures.device)
    columns = _gaussian_band(pictures.shape[-1], pictures.device)
    return rows @ pictures @ columns.T


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, and 1 where both are exactly 0: the limit of ``(0 + c) / (0 + c)``."""
    empty = (numerator == 0) & (denominator == 0)
    return torch.where(empty, 1.0, numerator / denominator)
