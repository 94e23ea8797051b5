"""What a class's map shows of a trigger: where its top pixels lie, and what both look like as pictures."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

_SIDE = 0.5
"""Sides of the window that a trigger with a place lies in, as shares of the image's."""
_FAINTEST = 0.05
"""Of the largest change of a pixel: what is changed less is no part of a trigger."""


class Localization(NamedTuple):
    """Where a map looks; each between 0 and 1.

    Args:
        top_share: share of the map's largest values that lie inside the trigger.
        revealed: ``top_share`` beyond chance: ``(top_share - area) / (1 - area)``, at least 0.
        iou: intersection over union of the trigger and as many of the largest values as it has pixels.
        pointing: 1 if the largest value lies inside the trigger (the pointing game), else 0.
        trigger_area: the trigger's share of the image, which is what ``top_share`` is by chance.
    """

    top_share: float
    revealed: float
    iou: float
    pointing: float
    trigger_area: float


def localization(plane: Tensor, mask: Tensor, top: float) -> Localization:
    """Where a signed map looks: at its largest values, or at its least, whichever shows more of the trigger.

    A map raises its class by adding what is bright and by taking away what is dark, and an auditor sees both:
    a dark trigger lies at the least values of the map. Values that are equal are taken in every order: a map
    that is the same everywhere looks nowhere.

    Args:
        plane: the map ``[H, W]``.
        mask: the trigger ``[H, W]``, bool, with at least one pixel.
        top: share of the pixels that are the map's top.
    """
    found = [_localization(values, mask.flatten(), top) for values in (plane.flatten(), -plane.flatten())]
    return max(found, key=lambda one: (one.top_share, one.iou, one.pointing))


def _localization(values: Tensor, inside: Tensor, top: float) -> Localization:
    """Where the largest of values ``[P]`` lie."""
    count, pixels = max(1, round(top * len(values))), int(inside.sum())
    share, area = _hits(values, inside, count) / count, pixels / len(values)
    common = _hits(values, inside, pixels)
    return Localization(
        top_share=share,
        revealed=max(0.0, (share - area) / (1 - area)) if area < 1 else 0.0,
        iou=common / (2 * pixels - common),
        pointing=_hits(values, inside, 1),
        trigger_area=area,
    )


def _hits(values: Tensor, inside: Tensor, count: int) -> float:
    """How many of the ``count`` largest values are inside, on average over all orders of equal ones."""
    least = values.topk(count).values[-1]
    above, level = values > least, values == least
    share = float(inside[level].double().mean())
    return float(inside[above].sum()) + (count - int(above.sum())) * share


def trigger_mask(strength: Tensor) -> Tensor:
    """Pixels of a trigger at the place where most of it lies, bool ``[H, W]``.

    It lies where it changes natural images, by a twentieth of the most or more. What it says of itself does
    not count: opaque black on black changes nothing. Beside a strong patch a weak one counts unless it is
    weaker by a factor of twenty. Its place is the window of half the image's sides that holds most of what it
    changes. Whether what lies there does the work, so that it is a place, is for the caller to find out.

    Args:
        strength: its mean absolute change of natural images, summed over channels, ``[H, W]``.
    """
    counted = strength >= _FAINTEST * strength.max()
    height, width = (max(1, round(_SIDE * side)) for side in strength.shape)
    means = functional.avg_pool2d((strength * counted)[None].double(), (height, width), stride=1)[0]
    row, column = divmod(int(means.argmax()), means.shape[1])
    window = torch.zeros_like(counted)
    window[row : row + height, column : column + width] = True
    return window & counted


def signed_picture(values: Tensor) -> Tensor:
    """Signed values ``[C, H, W]`` as a picture in [0, 1]: 0 is grey, the largest magnitude black or white."""
    largest = values.abs().amax()
    return 0.5 + 0.5 * values / torch.where(largest > 0, largest, 1.0)
