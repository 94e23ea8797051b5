"""Two idioms that no exporter can follow, said in other words: ``len(images)`` and an ``assert``."""

from __future__ import annotations

import contextlib
import dis
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def followed(module: nn.Module) -> Iterator[None]:
    """Within it lengths of tensors stay symbols, and what is asserted of values is taken for true."""
    spaces = {id(space): space for space in map(_globals, module.modules()) if "len" not in space}
    for space in spaces.values():
        space["len"] = _length
    try:
        with _Asserted():
            yield
    finally:
        for space in spaces.values():
            del space["len"]


def _globals(part: nn.Module) -> dict[str, Any]:
    """Names that a module's code finds; of torch's own modules none, which need no other words."""
    own = getattr(type(part).forward, "__globals__", None)
    outside = own is not None and not str(own.get("__name__", "")).startswith("torch.")
    return own if own is not None and outside else {"len": len}


def _length(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) and value.dim() else len(value)


class _Asserted(TorchFunctionMode):
    """Truth of a tensor that an ``assert`` asks for."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The call; true of what is asserted."""
        if func is Tensor.__bool__ and _asserts():
            return True
        return func(*args, **dict(kwargs or {}))


def _asserts() -> bool:
    """Whether the code that asks for a truth raises an assertion's error if there is none."""
    frame = sys._getframe(1)
    while (
        frame.f_code.co_name == "__torch_function__" and frame.f_back is not None
    ):  # of the exporter's modes
        frame = frame.f_back
    steps = [step for step in dis.get_instructions(frame.f_code) if step.offset >= frame.f_lasti]
    names = [step.opname for step in steps if step.opname not in ("TO_BOOL", "CACHE", "NOT_TAKEN")]
    return len(names) > 1 and names[0].endswith("IF_TRUE") and names[1] == "LOAD_ASSERTION_ERROR"
