"""A module's state: weights by name and back into it, copies of it, and whether it works in place."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from benchmark.errors import TaskError, in_a_line

_MAKERS = (WeightNorm, SpectralNorm, BasePruningMethod)
"""Hooks of torch's that make a weight of others before every call, of the module that they are called for."""
Copied = TypeVar("Copied", bound=nn.Module)


def load_state(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into a module, as of the module's own version: some refuse a dictionary without one.

    Raises:
        RuntimeError: a weight is missing, or has another shape or an unknown name.
    """
    given = OrderedDict(weights)
    given._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(given)


def deep_copy(module: Copied, kept: Mapping[int, Any] | None = None) -> Copied:
    """A copy of its own, also of a module that has kept tensors of a pass with a graph.

    Old weight norms and pruning keep such ones, and make them anew before every call: of the copy, of the
    copy's weights.

    Args:
        module: to copy.
        kept: what copies share with the module, by id.

    Raises:
        TaskError: it cannot be copied; the text says what helps.
    """
    try:
        return copy.deepcopy(module, {**_held(module), **(kept or {})})
    except Exception as error:  # weights that hooks of a person's own make of others
        reason = in_a_line(error, 100)
        raise TaskError(
            f"the network cannot be copied ({reason}): make what its weights are made of permanent, as "
            "torch.nn.utils.remove_weight_norm and torch.nn.utils.prune.remove do"
        ) from error


def _held(module: nn.Module) -> dict[int, Tensor]:
    """Copies of tensors that a module has kept of a pass with a graph, by id, as a memo of copies.

    Not where hooks make such a tensor out of weights in ways of their own: a copy might not follow them.
    """
    kept = [
        value
        for part in module.modules()
        if all(isinstance(hook, _MAKERS) for hook in part._forward_pre_hooks.values())
        for value in vars(part).values()
        if isinstance(value, Tensor) and value.requires_grad and not value.is_leaf
    ]
    return {id(value): value.detach().clone() for value in kept}


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
