"""A module's state: weights by name and back into it, and whether it works in place."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def load_state(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into a module, as of the module's own version: some refuse a dictionary without one.

    Raises:
        RuntimeError: a weight is missing, or has another shape or an unknown name.
    """
    given = OrderedDict(weights)
    given._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(given)


def without_in_place(module: nn.Module, size: tuple[int, ...]) -> None:
    """Lets activations make new tensors instead of writing over their inputs, where that changes no answer.

    In a network that reads such an input once more it does, and all is left as it was.

    Args:
        module: classifier in evaluation mode.
        size: channels, height and width of an input.
    """
    parts = [part for part in module.modules() if getattr(part, "inplace", False)]
    like = next((weight for weight in module.parameters() if weight.is_floating_point()), torch.zeros(()))
    images = torch.randn(2, *size, generator=torch.Generator().manual_seed(0)).to(like)
    answers = []
    for flag in (True, False):
        for part in parts:
            part.inplace = flag  # type: ignore[assignment]
        try:
            with torch.no_grad():
                answers.append(module(images))
        except Exception:  # whoever asks it next is told what is wrong
            return
    first, second = answers
    if not (isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape == second.shape):
        return
    if float((first - second).abs().max()) > 1e-4 * float(first.abs().max()):
        for part in parts:
            part.inplace = True  # type: ignore[assignment]
