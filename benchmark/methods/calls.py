"""Calls of a method's code: whatever it raises or returns wrongly is a failure that is blamed on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from benchmark.explainers import UnsupportedLayer
from benchmark.failures import StepFailed, invalid
from benchmark.methods.base import Method
from benchmark.methods.meter import BudgetExhausted
from benchmark.methods.traces import with_place

Result = TypeVar("Result")

_TYPES = frozenset(
    {torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool}
    | {torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
)
"""Types that torch can compare and convert, on every device."""


def call(method: Method, function: Callable[[], Result]) -> Result:
    """Runs a method's code; whatever it raises is a failure that is blamed on the method.

    What a network or explainer cannot do (``UnsupportedLayer``) is no failure: the cell is skipped.
    """
    try:
        return function()
    except StepFailed:
        raise
    except UnsupportedLayer as error:
        raise StepFailed("skipped", "", str(error), method.variant) from error
    except BudgetExhausted as error:
        raise invalid(method.variant, str(error)) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise StepFailed("oom", "method", "out of memory", method.variant) from error
        raise StepFailed("crashed", "method", with_place(error), method.variant) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on a device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)


def check_tensor(name: str, what: str, value: object, shape: torch.Size | tuple[int, ...]) -> Tensor:
    """The value, if it is a dense, finite tensor of a usual type and the shape; else the method's failure."""
    if not isinstance(value, Tensor):
        raise invalid(name, f"{what} must be a tensor, not {kind_of(value)}")
    if tuple(value.shape) != tuple(shape):
        raise invalid(name, f"{what} have shape {list(value.shape)} instead of {list(shape)}")
    if value.layout != torch.strided:
        raise invalid(name, f"{what} must be dense, not {value.layout}")
    if value.dtype not in _TYPES:
        raise invalid(name, f"{what} have type {value.dtype}: give torch.float32")
    if not bool(torch.isfinite(value).all()):
        bad = int((~torch.isfinite(value)).sum())
        raise invalid(name, f"{what} hold {bad} values that are NaN or infinite")
    return value


def kind_of(value: object) -> str:
    """Name of a value's type."""
    return type(value).__name__
