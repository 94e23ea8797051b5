"""Calls of ATen that a network makes of its images on the way to its logits, whatever they are made by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.network.said import tensors

_BOUNDS = frozenset(("clamp", "clamp_min"))
_GUARD = 1e-4
"""Up to which a lower bound is a guard against a division by zero."""


class Observed(TorchDispatchMode):
    """Notes which calls follow from images.

    Args:
        images: that a network is about to be shown.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._behind: dict[int, StorageWeakRef] = {}
        self._calls: list[tuple[str, list[int], list[int]]] = []
        self._store([images])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The call."""
        named = dict(kwargs or {})
        result = func(*args, **named)
        reads = [key for key in _keys([*args, *named.values()]) if key in self._behind]
        if reads:
            name = "" if _is_guard(func, args, named) else func._schema.name.partition("::")[2].strip("_")
            writes = [result, args[0]] if func._schema.is_mutable and args else [result]
            self._calls.append((name, reads, self._store(writes)))
        return result

    def calls(self, logits: Tensor) -> tuple[str, ...]:
        """Names of calls, each once, that logits follow from."""
        needed = set(_keys([logits]))
        names: dict[str, None] = {}
        for name, reads, writes in reversed(self._calls):
            if needed.intersection(writes):
                needed.update(reads)
                names[name] = None
        return tuple(names)

    def _store(self, values: Sequence[Any]) -> list[int]:
        for tensor in tensors(values):
            if (storage := _storage(tensor)) is not None:
                self._behind[storage._cdata] = StorageWeakRef(storage)  # keeps the number, not the values
        return [*_keys(values)]


def _is_guard(func: Any, args: Sequence[Any], named: Mapping[str, Any]) -> bool:
    name = func._schema.name.partition("::")[2].strip("_")
    low, *high = [*args[1:], *named.values()] or [None]
    if name not in _BOUNDS or any(end is not None for end in high):
        return False
    single = isinstance(low, float) or (isinstance(low, Tensor) and low.dim() == 0)
    return single and 0 < float(low) <= _GUARD


def _keys(values: Sequence[Any]) -> Iterator[int]:
    for tensor in tensors(values):
        if (storage := _storage(tensor)) is not None:
            yield storage._cdata


def _storage(tensor: Tensor) -> torch.UntypedStorage | None:
    """A tensor's memory; None of one that is no piece of memory, as a sparse one."""
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def observed(function: Callable[[Tensor], Tensor], images: Tensor) -> tuple[str, ...]:
    """Names of the calls of ATen that a function's result follows from its images by.

    Args:
        function: of images, such as a network.
        images: that it is shown.
    """
    watched = Observed(images)
    with watched:
        result = function(images)
    return watched.calls(result)
