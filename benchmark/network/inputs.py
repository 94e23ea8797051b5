"""What a network is given: pictures of the right kind, and the colors that they are shifted and scaled by.

Pictures are checked in every call, so that no check here looks at their values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.errors import TaskError


def colors(mean: object, deviation: object, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What pictures are shifted by and then divided by, one number for each channel, or one for all.

    Raises:
        TaskError: there are more or fewer of them, they are no finite numbers, one of those that pictures
            are divided by is not above 0, or one that they are shifted by is no value of a picture.
    """
    found = _numbers("mean", mean, channels), _numbers("deviation", deviation, channels)
    if min(found[1]) <= 0:
        raise TaskError(f"deviation is what pictures are divided by, above 0, not {min(found[1]):g}")
    if not all(0 <= value <= 1 for value in found[0]):
        raise TaskError(
            f"mean is {', '.join(f'{value:g}' for value in found[0])}, and pictures lie in [0, 1], as their "
            "mean does: divide mean and deviation by 255 where they are of values up to 255"
        )
    return found


def _numbers(what: str, given: Any, channels: int) -> tuple[float, ...]:
    """One number per channel, or one for all."""
    try:
        values = tuple(float(value) for value in (given if isinstance(given, Iterable) else (given,)))
    except (TypeError, ValueError) as error:
        raise TaskError(f"{what} is one number per channel, not {given!r}") from error
    if len(values) not in (1, channels):
        have = "1 channel" if channels == 1 else f"{channels} channels"
        raise TaskError(f"{what} has {len(values)} values, and pictures have {have}")
    if not all(map(math.isfinite, values)):
        raise TaskError(f"{what} holds {values}, which are no finite numbers")
    return values


def side_lengths(size: object) -> tuple[int, int, int]:
    """Channels, height and width of an image.

    Raises:
        TaskError: it is not three whole numbers above 0.
    """
    sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else ()
    if len(sides) != 3 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise TaskError(
            f"the size of an image is its channels, height and width, such as (3, 32, 32), not {size!r}"
        )
    return sides[0], sides[1], sides[2]


def check_module(module: object) -> None:
    """Refuses what is no module.

    Raises:
        TaskError: it is something else, such as a function.
    """
    if not isinstance(module, nn.Module):
        raise TaskError(
            f"a network is a torch.nn.Module, not {type(module).__name__}: a function becomes one as the "
            "forward of a class that holds its layers"
        )


def check_pictures(inputs: Any, channels: int | None = None) -> None:
    """Refuses what are no pictures ``[N, C, H, W]`` of floating point numbers.

    Args:
        inputs: any object.
        channels: that pictures must have, if that is known.

    Raises:
        TaskError: they are something else.
    """
    if not isinstance(inputs, Tensor):
        raise TaskError(f"pictures are a torch.Tensor [N, C, H, W], not {type(inputs).__name__}")
    if inputs.layout != torch.strided:
        raise TaskError("pictures are dense, and these are sparse: give pictures.to_dense()")
    if inputs.dim() != 4:
        hint = ": of a single picture give picture[None]" if inputs.dim() == 3 else ""
        raise TaskError(f"pictures are [N, C, H, W], and these are {list(inputs.shape)}{hint}")
    if not inputs.is_floating_point():
        kind = str(inputs.dtype).removeprefix("torch.")
        hint = ": divide by 255" if inputs.dtype == torch.uint8 else ""
        raise TaskError(f"pictures are floating point numbers from 0 to 1, and these are {kind}{hint}")
    if channels is not None and inputs.shape[1] != channels:
        raise TaskError(
            f"this network takes pictures of {channels} channels, and these have {inputs.shape[1]}"
        )


def class_labels(labels: Any, pictures: int) -> Tensor:
    """A class for each picture, ``[N]`` of int64.

    Args:
        labels: any object.
        pictures: number of them.

    Raises:
        TaskError: it is no tensor of whole numbers, or has more or fewer of them.
    """
    if not isinstance(labels, Tensor):
        raise TaskError(f"labels are a torch.Tensor [N] of classes, not {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        kind = str(labels.dtype).removeprefix("torch.")
        raise TaskError(f"labels are whole numbers, the classes' places among the logits, not {kind}")
    if labels.shape != (pictures,):
        raise TaskError(
            f"labels are [N], a class for each of {pictures} pictures, and these are {list(labels.shape)}"
        )
    return labels.long()


def check_classes_of(labels: Tensor, classes: int) -> None:
    """Refuses classes that a network does not have, where looking at them costs nothing: on a CPU.

    Args:
        labels: of int64, ``[N]``.
        classes: that the network has.

    Raises:
        TaskError: there is one.
    """
    if labels.device.type != "cpu" or not len(labels):
        return  # a GPU would have to be waited for, in every step of an attack
    low, high = (int(end) for end in labels.aminmax())
    if low < 0 or high >= classes:
        wrong = low if low < 0 else high
        raise TaskError(
            f"this network has {classes} classes, 0 to {classes - 1}, and none of them is {wrong}"
        )


def weights_kind(module: nn.Module) -> torch.dtype | None:
    """Type of a module's first floating point weight, which complex ones are not, or None if it has none."""
    return next((weight.dtype for weight in module.parameters() if weight.is_floating_point()), None)


def weight_like(module: nn.Module) -> Tensor:
    """A module's first floating point weight, or a zero where its weights are: what pictures are like."""
    device = next(module.parameters(), torch.zeros(())).device
    real = (weight for weight in module.parameters() if weight.is_floating_point())
    return next(real, torch.zeros((), device=device))


def asked(module: Callable[[Tensor], Any], images: Tensor) -> Any:
    """What a module says of normalized images ``[N, C, H, W]``.

    One that squeezes takes no image alone, or gives a row without its batch: it is shown that one twice.
    """
    if len(images) != 1:
        return module(images)
    try:
        output = module(images)
    except (RuntimeError, IndexError, ValueError):
        output = None
    if output is None or (isinstance(output, Tensor) and output.dim() == 1):
        several = module(torch.cat([images, images]))
        if output is None or (isinstance(several, Tensor) and several.dim() == 2):
            return several[:1]
    return output
