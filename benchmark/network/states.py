"""Weights by name, and back into a module."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


def load_state(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copies weights into a module, as of the module's own version: some refuse a dictionary without one.

    Raises:
        RuntimeError: a weight is missing, or has another shape or an unknown name.
    """
    given = OrderedDict(weights)
    given._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    module.load_state_dict(given)
