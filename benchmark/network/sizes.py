"""What a walk must fit: the size of its images, and one row of logits for each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.network.operations import Operation

_IMAGES = 3
_CLOSE = 1e-2
"""How far a walk's logits may be from the module's, as a share of how far images' logits are apart."""
_ROUNDING = 1e-5
"""The same beside it, as a share of the largest logit."""


def check_logits(output: object, images: int) -> None:
    """Refuses what is no row of logits for each image.

    Raises:
        TaskError: it is something else.
    """
    if not isinstance(output, Tensor):
        raise TaskError(f"a victim must return a tensor of logits, not a {type(output).__name__}")
    if output.dim() != 2 or len(output) != images:
        hint = "of a single logit give logits[:, None]" if output.dim() == 1 else "average over positions"
        raise TaskError(
            f"a victim must return a row of logits [N, classes] for each image, and this one returns "
            f"{list(output.shape)} for {images} images: {hint}"
        )


class Sizes:
    """The sizes of images that a walk is right for.

    Numbers that a captured walk has of the size that it was captured at are wrong at others, without an error
    from anything. What was captured without such numbers is right everywhere.

    Args:
        operations: of the walk.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._captured = next((step.captured_at for step in operations if step.captured_at), None)
        self._right = {self._captured}

    def check(self, inputs: Tensor, module: nn.Module, walk: Callable[[Tensor], Tensor]) -> None:
        """Compares the walk with the module where images ``[N, C, H, W]`` are of another size, once.

        Args:
            inputs: normalized images; nothing but their size and type matters.
            module: the classifier.
            walk: logits of normalized images, by the walk.

        Raises:
            TaskError: the walk is not right for images of this size.
        """
        size = tuple(inputs.shape[1:])
        if self._captured is None or size in self._right:
            return
        if not _agree(inputs, module, walk):
            captured, asked = (" x ".join(map(str, one)) for one in (self._captured, size))
            raise TaskError(
                f"this network was captured for images of {captured}, and its walk is another network for "
                f"images of {asked}: build it for their size"
            )
        self._right.add(size)


def _agree(inputs: Tensor, module: nn.Module, walk: Callable[[Tensor], Tensor]) -> bool:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(_IMAGES, *inputs.shape[1:], generator=generator, dtype=torch.double).to(inputs)
    try:
        with torch.no_grad():
            expected, found = module(images.clone()), walk(images)
    except Exception:  # whatever a layer makes of images that it is not for
        return False
    if found.shape != expected.shape:
        return False
    apart = float((expected - expected.mean(0)).abs().max())
    most = _CLOSE * apart + _ROUNDING * float(expected.abs().max())
    return float((found - expected).abs().max()) <= most
