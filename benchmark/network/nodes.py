"""What a captured graph's node is: a call's name, a length that follows a batch."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx

from benchmark.errors import TaskError
from benchmark.network.calls import SHAPES_ALONE
from benchmark.network.captured import Length


def call_name(node: fx.Node) -> str:
    """What a call is called, without library and overload."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return str(getattr(packet or node.target, "__name__", node.target))


def values_read(graph: fx.Graph) -> frozenset[fx.Node]:
    """Inputs, and nodes whose values, and not their shapes alone, the output follows from."""
    read: set[fx.Node] = set()
    for node in reversed(list(graph.nodes)):
        by_value = (user in read and not _reads_shape(user) for user in node.users)
        if node.op in ("output", "placeholder") or any(by_value):
            read.add(node)
    return frozenset(read)


def _reads_shape(node: fx.Node) -> bool:
    return call_name(node) in SHAPES_ALONE or isinstance(node.meta.get("val"), torch.SymInt | int)


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
