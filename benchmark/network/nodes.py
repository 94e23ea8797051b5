"""What a captured graph's node is: a call's name, an activation's kinks, a length that follows a batch."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from benchmark.errors import TaskError
from benchmark.network.captured import Length


def call_name(node: fx.Node) -> str:
    """What a call is called, without library and overload."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet or node.target, "__name__", node.target))


def kinks_of(
    name: str, numbers: list[Any], named: dict[str, Any]
) -> tuple[float, float, list[tuple[float, float]]] | None:
    """Slope and offset on the left, and kinks, of an activation by its name; None for others."""
    if name == "leaky_relu":
        slope = float(numbers[0]) if numbers else float(named.get("negative_slope", 0.01))
        return slope, 0.0, [(0.0, 1.0 - slope)]
    if name in ("hardsigmoid", "hardswish"):
        return 0.0, 0.0, [(-3.0, 1 / 6), (3.0, -1 / 6)]
    low: Any
    high: Any
    if name == "hardtanh":
        low, high = numbers + [-1.0, 1.0][len(numbers) :]
    elif name == "clamp":
        low, high = numbers + [named.get("min"), named.get("max")][len(numbers) :]
    elif name == "clamp_min":
        low, high = numbers[0], None
    elif name == "clamp_max":
        low, high = None, numbers[0]
    else:
        return None
    if isinstance(low, fx.Node) or isinstance(high, fx.Node):
        return None
    if low is None:
        return 1.0, 0.0, [(float(high), -1.0)]
    kinks = [(float(low), 1.0)]
    if high is not None:
        kinks.append((float(high), -1.0))
    return 0.0, float(low), kinks


def length_of(value: Any, sources: list[fx.Node]) -> Any:
    """A side that follows from the batch, as a multiple of a side of an input."""
    if isinstance(value, int):
        return value
    factor, offset = _line(value)
    if factor == 0:
        return offset
    for index, source in enumerate(sources):
        for side, length in enumerate(source.meta["val"].shape):
            if isinstance(length, torch.SymInt):
                share, rest = _line(length)
                if share > 0 and rest == 0:
                    return Length(factor, offset, index, side, share)
    raise TaskError("a victim must not compute with the number of images alone")


def _line(value: torch.SymInt) -> tuple[int, int]:
    """``value = factor * batch + offset``; raises where it is no such line."""
    expression = value.node.expr
    (symbol,) = expression.free_symbols or (None,)
    if symbol is None:
        return 0, int(expression)
    two, three, seven = (int(expression.subs(symbol, batch)) for batch in (2, 3, 7))
    factor, offset = three - two, two - 2 * (three - two)
    if seven != 7 * factor + offset:
        raise TaskError(f"a victim must not compute with the number of images as {expression}")
    return factor, offset
