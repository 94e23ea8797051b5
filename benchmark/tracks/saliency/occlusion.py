"""What hiding parts of an image does to its class: the truth of a line-up that no explainer has a part in.

After Zeiler and Fergus (2014, section 4.2): a square around each place is filled with the mean colour, and
what that changes of the logit, less the mean of all logits, is the map. No gradient is asked for, so that it
favors no explainer's way of drawing. It is coarse, 196 forward passes an image, and noisy.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.network import Network
from benchmark.network.batches import in_batches

_GRID = 14
"""Places along each side of an image; on 28 pixels every second one, and squares of five."""
_BATCH = 512


def occlusion_maps(model: Network, images: Tensor, labels: Tensor) -> Tensor:
    """How much hiding a square around each place changes the class, ``[N, G, G]``, not negative.

    Args:
        model: the network.
        images: ``[N, C, H, W]`` in [0, 1].
        labels: classes ``[N]``.
    """
    height, width = images.shape[2:]
    places = [(row, column) for row in _centres(height) for column in _centres(width)]
    half = side(height) // 2, side(width) // 2
    squares = torch.zeros(len(places), 1, height, width, dtype=torch.bool, device=images.device)
    for index, (row, column) in enumerate(places):
        rows = slice(max(0, row - half[0]), row + half[0] + 1)
        squares[index, :, rows, max(0, column - half[1]) : column + half[1] + 1] = True
    found = [images.new_zeros(0, len(_centres(height)), len(_centres(width)))]  # of no images as well
    for image, label in zip(images, labels, strict=True):
        hidden = torch.where(squares, model.mean, image)
        change = _value(model, hidden, label) - _value(model, image[None], label)
        found.append(change.abs().view(1, len(_centres(height)), -1))
    return torch.cat(found)


def seen_coarsely(maps: Tensor) -> Tensor:
    """Maps ``[N, H, W]`` averaged over the squares that occlusion hides, ``[N, G, G]``."""
    height, width = maps.shape[1:]
    size = side(height), side(width)
    smooth = functional.avg_pool2d(
        maps[:, None], size, 1, (size[0] // 2, size[1] // 2), count_include_pad=False
    )
    rows, columns = (torch.tensor(_centres(extent), device=maps.device) for extent in (height, width))
    return smooth[:, 0][:, rows][:, :, columns]


def side(extent: int) -> int:
    """Side of a square along an image's side, odd: five pixels of 28."""
    return max(3, round(extent * 5 / 28)) // 2 * 2 + 1


def _centres(extent: int) -> list[int]:
    """Middles of squares along a side."""
    count = min(_GRID, extent)
    return [index * extent // count for index in range(count)]


def _value(model: Network, images: Tensor, label: Tensor) -> Tensor:
    """Logit of a class, less the mean of all, ``[B]``."""
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in in_batches(images, _BATCH)])
    return logits[:, label] - logits.mean(1)
