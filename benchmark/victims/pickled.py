"""A file of PyTorch's own gives the tensors in it, whatever a training script has wrapped them in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark.errors import AssetError

_WRAPPED = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "state_dict_ema")
"""Under what training scripts keep the weights, beside an optimizer's state and a number of epochs."""
_DEEPEST = 8


def pickled_state(path: Path) -> dict[str, Tensor]:
    """The weights of a ``.pth`` file by name; nothing in it is executed.

    Raises:
        AssetError: it holds no tensors by name, or more than tensors, numbers and texts.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises what it likes at what is no pickle
        raise AssetError(
            f"cannot read the weights {path}: it is no whole file of torch's with tensors alone (what else "
            "it holds could run anything when it is read); save module.state_dict(), not the module itself; "
            "safetensors end in .safetensors"
        ) from error
    return _unwrapped(found, path)


def _unwrapped(found: Any, path: Path, depth: int = 0) -> dict[str, Tensor]:
    """The mapping of names to tensors, however deep (within reason) a script has put it."""
    if isinstance(found, Mapping) and depth < _DEEPEST:
        if found and all(isinstance(value, Tensor) for value in found.values()):
            return {str(name): value for name, value in found.items()}
        for name in _WRAPPED:
            if isinstance(found.get(name), Mapping):
                return _unwrapped(found[name], path, depth + 1)
    kinds = sorted({type(value).__name__ for value in found.values()}) if isinstance(found, Mapping) else []
    holds = f"a mapping to {', '.join(kinds) or 'nothing'}" if isinstance(found, Mapping) else "no mapping"
    raise AssetError(
        f"cannot read the weights {path}: it holds {holds}; save module.state_dict(), a mapping of names to "
        f"tensors, plain or under one of {', '.join(_WRAPPED)}"
    )
