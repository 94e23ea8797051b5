"""Piecewise linear activations as people spell them: choices by a comparison, maxima, products with a mask.

``where(x > 0, x, 0.1 * x)``, ``maximum(x, 0)`` and ``x * (x > 0)`` are activations with a kink, of several
calls. They are found in the graph, and what stands between their input and them is no operation of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from benchmark.network.activations import Shape, spelt_shape

MAXIMA = frozenset(("maximum", "max", "fmax"))
MINIMA = frozenset(("minimum", "min", "fmin"))
_BOUNDS = frozenset(("clamp", "clip", "clamp_min", "clamp_max"))
_ABOVE = {"gt": True, "ge": True, "lt": False, "le": False}
_TURNED = frozenset(("logical_not", "bitwise_not", "invert"))
_AS_NUMBERS = frozenset(("to", "_to_copy", "type_as", "type", "float", "double", "half", "bfloat16"))
_SAME = frozenset(("clone", "contiguous", "alias", "lift_fresh_copy", *_AS_NUMBERS))
_ALIKE = {"zeros_like": 0.0, "ones_like": 1.0, "new_zeros": 0.0, "new_ones": 1.0, "zeros": 0.0, "ones": 1.0}
_FULL = {"full_like": 1, "new_full": 2, "full": 1, "scalar_tensor": 0}
"""Where their calls have the number."""
_ARITHMETIC = frozenset(("neg", "mul", "div", "truediv", "add", "sub", "rsub"))
PARTS = frozenset((*_ABOVE, *_TURNED, *_SAME, *_ALIKE, *_FULL, *_ARITHMETIC))
"""Calls that may stand between an activation's input and it."""
ENDS = frozenset(("where", "mul", "masked_fill", *MAXIMA, *MINIMA, *_BOUNDS))
"""Calls that an activation of several calls may end with."""
_EXACT = 1e-9
"""By how much, as a share, both sides of a kink may differ there."""

Line = tuple[float, float]
"""Slope and offset."""


@dataclass(frozen=True)
class Spelling:
    """A piecewise linear activation of another name, or of several calls.

    Args:
        root: its input.
        shape: what it computes of it.
        inside: nodes between the input and it.
    """

    root: fx.Node
    shape: Shape
    inside: frozenset[fx.Node]


class Spellings(Mapping[fx.Node, Spelling]):
    """All that a graph has, by the node whose value an activation is.

    Args:
        graph: of calls.
        name: what a node's call is called; nothing for other nodes.
        constant: the tensor that a node always is, where it is one.
    """

    def __init__(
        self,
        graph: fx.Graph,
        name: Callable[[fx.Node], str],
        constant: Callable[[fx.Node], Tensor | None] = lambda node: None,
    ) -> None:
        self._reader = Reader(name, constant)
        found = {node: self._reader.spelling(node) for node in graph.nodes}
        self._found = {node: spelling for node, spelling in found.items() if spelling is not None}
        self.absorbed = read_alone(graph, {node: one.inside for node, one in self._found.items()})
        """Nodes that nothing but such activations reads."""

    def __getitem__(self, node: fx.Node) -> Spelling:
        return self._found[node]

    def __iter__(self) -> Iterator[fx.Node]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def read_alone(graph: fx.Graph, inside: Mapping[fx.Node, frozenset[fx.Node]]) -> frozenset[fx.Node]:
    """Nodes that nothing reads but those that they are inside of.

    Args:
        graph: of calls.
        inside: for some nodes of the graph, nodes before them that are part of what they are.
    """
    some = frozenset(node for nodes in inside.values() for node in nodes)
    alone: set[fx.Node] = set()
    for node in reversed(list(graph.nodes)):
        readers = [user for user in node.users if user.users or user.op == "output"]
        if node in some and all(user in alone or node in inside.get(user, ()) for user in readers):
            alone.add(node)
    return frozenset(alone)


class Reader:
    """Reads nodes as lines, conditions and choices."""

    def __init__(self, name: Callable[[fx.Node], str], constant: Callable[[fx.Node], Tensor | None]) -> None:
        self.name, self.constant = name, constant

    def spelling(self, node: fx.Node) -> Spelling | None:
        """What a node's value is, if it is such an activation."""
        found = self._single(node) or self._chosen(node) or self._extreme(node)
        if found is None:
            return None
        root, shape = found
        if not _same_values(node, root):
            return None
        inside = self._between(node, root)
        return None if inside is None else Spelling(root, shape, inside)

    def _between(self, node: fx.Node, root: fx.Node) -> frozenset[fx.Node] | None:
        """Nodes between; none where a number is told by another value, whose shape is not known then."""
        inside: set[fx.Node] = set()
        waiting = list(node.all_input_nodes)
        while waiting:
            part = waiting.pop()
            if part is root or part in inside or self.constant(part) is not None:
                continue
            inside.add(part)
            beyond = [one for one in part.all_input_nodes if one is not root and self.constant(one) is None]
            if self.number(part) is None or all(self.number(one) is not None for one in beyond):
                waiting += beyond
            elif "val" not in part.meta or not self.name(part).endswith("_like"):
                return None
        return frozenset(inside)

    def _single(self, node: fx.Node) -> tuple[fx.Node, Shape] | None:
        """One call of another name."""
        root = node.args[0] if node.args else None
        shape = spelt_shape(self.name(node), node.args[1:], node.kwargs)
        return (root, shape) if isinstance(root, fx.Node) and shape is not None else None

    def _chosen(self, node: fx.Node) -> tuple[fx.Node, Shape] | None:
        """A choice by comparing a value with a number."""
        name, given = self.name(node), list(node.args)
        choices: list[tuple[Any, Any, Any]] = []
        if name == "where" and len(given) == 3:
            choices = [(given[0], given[1], given[2])]
        elif name == "mul" and len(given) == 2:
            choices = [(given[1], given[0], 0.0), (given[0], given[1], 0.0)]
        elif name == "masked_fill" and len(given) == 3:
            choices = [(given[1], given[2], given[0])]
        for condition, yes, no in choices:
            if (compared := self._condition(condition)) is None:
                continue
            root, at, above = compared
            sides = self.line(yes, root), self.line(no, root)
            right, left = sides if above else sides[::-1]
            if left is not None and right is not None and (shape := _joined(left, right, at)):
                return root, shape
        return None

    def _extreme(self, node: fx.Node) -> tuple[fx.Node, Shape] | None:
        """The larger or the smaller of a value and a line of it."""
        if (pair := extremes(node, self.name(node))) is None:
            return None
        first, second, largest = pair
        for root, other in ((first, second), (second, first)):
            if not isinstance(root, fx.Node) or self.number(root) is not None:
                continue
            line = self.line(other, root)
            if line is None or line[0] == 1.0:
                continue
            at = line[1] / (1.0 - line[0])
            left, right = sorted([(1.0, 0.0), line], reverse=not largest)
            if (shape := _joined(left, right, at)) is not None:
                return root, shape
        return None

    def _condition(self, part: Any) -> tuple[fx.Node, float, bool] | None:
        """A comparison of a value with a number: which, with what, and whether it is true above."""
        if not isinstance(part, fx.Node):
            return None
        name, given = self.name(part), list(part.args)
        if name in _AS_NUMBERS or name in _TURNED:
            inner = self._condition(given[0] if given else None)
            return inner if inner is None or name in _AS_NUMBERS else (inner[0], inner[1], not inner[2])
        if name not in _ABOVE or len(given) != 2:
            return None
        for root, other, above in (
            (given[0], given[1], _ABOVE[name]),
            (given[1], given[0], not _ABOVE[name]),
        ):
            at = self.number(other)
            if isinstance(root, fx.Node) and at is not None and self.number(root) is None:
                return root, at, above
        return None

    def line(self, part: Any, root: fx.Node) -> Line | None:
        """A value as ``slope * root + offset``, where it is."""
        if part is root:
            return 1.0, 0.0
        if (number := self.number(part)) is not None:
            return 0.0, number
        if not isinstance(part, fx.Node) or part.kwargs:
            return None
        name, given = self.name(part), list(part.args)
        if name in _SAME and len(given) == 1:
            return self.line(given[0], root)
        if name == "neg":
            return _scaled(self.line(given[0], root), -1.0)
        if len(given) != 2:
            return None
        numbers = [self.number(one) for one in given]
        if name == "mul":
            rest, factor = (given[0], numbers[1]) if numbers[1] is not None else (given[1], numbers[0])
            return None if factor is None else _scaled(self.line(rest, root), factor)
        if name in ("div", "truediv"):
            return _scaled(self.line(given[0], root), 1 / numbers[1]) if numbers[1] else None
        if name in ("add", "sub", "rsub"):
            first, second = (self.line(one, root) for one in given)
            first = _scaled(first, -1.0) if name == "rsub" else first
            second = _scaled(second, -1.0) if name == "sub" else second
            return (first[0] + second[0], first[1] + second[1]) if first and second else None
        return None

    def number(self, part: Any) -> float | None:
        """The number that a value is everywhere, where it is one."""
        if isinstance(part, int | float) and not isinstance(part, bool):
            return float(part)
        if not isinstance(part, fx.Node):
            return None
        if (stored := self.constant(part)) is not None:
            return float(stored) if stored.numel() == 1 and not stored.is_complex() else None
        name = self.name(part)
        if name in _SAME and part.args:
            return self.number(part.args[0])
        if name in _FULL and len(part.args) > _FULL[name]:
            return self.number(part.args[_FULL[name]])
        return _ALIKE.get(name)


def extremes(node: fx.Node, name: str) -> tuple[Any, Any, bool] | None:
    """Two values of which a call gives the larger one, or the smaller one, place by place.

    Args:
        node: of the graph.
        name: of its call.

    Returns:
        Both values, and whether it gives the larger one; None where it gives neither.
    """
    given = list(node.args)
    if name in _BOUNDS and given:
        named = [node.kwargs.get(end) for end in ("min", "max")]
        ends = [None, *given[1:]] if name == "clamp_max" else given[1:]
        low, high = [*ends, *named[len(ends) :]][:2]
        if (low is None) == (high is None):
            return None
        bound = high if low is None else low
        return (given[0], bound, high is None) if isinstance(bound, fx.Node) else None
    if name not in MAXIMA | MINIMA or len(given) != 2 or node.kwargs or not isinstance(given[1], fx.Node):
        return None  # the largest of a side
    return given[0], given[1], name in MAXIMA


def _scaled(line: Line | None, factor: float) -> Line | None:
    return None if line is None else (factor * line[0], factor * line[1])


def _joined(left: Line, right: Line, at: float) -> Shape | None:
    """Two lines that meet at a kink; None where they are one, or where there is a gap between them."""
    ends = [slope * at + offset for slope, offset in (left, right)]
    if left[0] == right[0] or not math.isfinite(at):
        return None
    if not math.isclose(*ends, rel_tol=_EXACT, abs_tol=_EXACT):
        return None  # a step, which has no slope that a smoothing could make of it
    return left[0], left[1], [(at, right[0] - left[0])], False


def _same_values(node: fx.Node, root: fx.Node) -> bool:
    """Whether both are as many real numbers, as far as the graph says."""
    given, result = root.meta.get("val"), node.meta.get("val")
    if not isinstance(given, Tensor) or not isinstance(result, Tensor):
        return True
    real = given.is_floating_point() and result.dtype == given.dtype
    return real and tuple(map(str, given.shape)) == tuple(map(str, result.shape))


def torch_name(node: fx.Node) -> str:
    """What a call of a traced graph is called; nothing for other nodes."""
    if node.op not in ("call_function", "call_method"):
        return ""
    return node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", ""))
