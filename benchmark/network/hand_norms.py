"""Normalizations that networks write by hand, as the first ConvNeXt did: less a mean, by a deviation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

from benchmark.network.normalizations import Normalize
from benchmark.network.spellings import read_alone

_STATISTICS = frozenset(("mean", "sub", "pow", "square", "mul", "add", "var", "sqrt", "rsqrt"))


@dataclass(frozen=True)
class HandNorm:
    """A normalization of several calls.

    Args:
        root: its input.
        centred: the value that is divided: the input, or the input less its mean.
        deviation: what that is divided, or multiplied, by.
        inside: nodes between the input and it.
    """

    root: fx.Node
    centred: fx.Node
    deviation: fx.Node
    inside: frozenset[fx.Node]


class HandNorms(Mapping[fx.Node, HandNorm]):
    """All that a captured graph has, by the node whose value one is.

    Args:
        graph: of ATen calls.
        name: what a node's call is called.
    """

    def __init__(self, graph: fx.Graph, name: Callable[[fx.Node], str]) -> None:
        self._name = name
        found = {node: self._norm(node) for node in graph.nodes}
        self._found = {node: norm for node, norm in found.items() if norm is not None}
        self.absorbed = read_alone(graph, {node: norm.inside for node, norm in self._found.items()})
        """Nodes that nothing but such normalizations reads."""

    def __getitem__(self, node: fx.Node) -> HandNorm:
        return self._found[node]

    def __iter__(self) -> Iterator[fx.Node]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def _norm(self, node: fx.Node) -> HandNorm | None:
        if self._name(node) not in ("div", "mul") or len(node.args) != 2:
            return None
        pairs = [node.args] if self._name(node) == "div" else [node.args, node.args[::-1]]
        for centred, deviation in pairs:
            if not isinstance(centred, fx.Node) or not isinstance(deviation, fx.Node):
                continue
            root = self._centred(centred)
            inside = self._statistics(deviation, root)
            wanted = "sqrt" if self._name(node) == "div" else "rsqrt"
            if inside is not None and self._name(deviation) == wanted and _is_narrower(deviation, root):
                others = {centred, *centred.all_input_nodes} if centred is not root else set()
                return HandNorm(root, centred, deviation, frozenset((inside | others) - {root}))
        return None

    def _centred(self, node: fx.Node) -> fx.Node:
        """The value that a node is less its mean, or the node itself."""
        first, second = [*node.args, None, None][:2]
        if self._name(node) != "sub" or not isinstance(first, fx.Node) or not isinstance(second, fx.Node):
            return node
        return first if self._name(second) == "mean" and second.args[0] is first else node

    def _statistics(self, node: fx.Node, root: fx.Node) -> set[fx.Node] | None:
        """Nodes between; none where anything else is among them than makes a deviation of the root alone."""
        inside: set[fx.Node] = set()
        waiting = [node]
        while waiting:
            part = waiting.pop()
            if part is root or part in inside:
                continue
            if self._name(part) not in _STATISTICS or part.op != "call_function":
                return None
            inside.add(part)
            waiting += part.all_input_nodes
        averages = any(self._name(part) in ("mean", "var") for part in inside)
        return inside if averages else None


class NormalizeByHand(Normalize):
    """Such a normalization, as one operation.

    Args:
        name: of the operation.
        sources: position of its input.
        function: computes it.
        parts: the value that is divided and what it is divided by, of the input.
        divides: whether it is divided, and not multiplied.
    """

    def __init__(
        self,
        name: str,
        sources: tuple[int, ...],
        function: Callable[..., Tensor],
        parts: tuple[Callable[..., Tensor], Callable[..., Tensor]],
        divides: bool,
    ) -> None:
        super().__init__(name, sources, function, "normalization")
        (self.centred, self.deviation), self.divides = parts, divides

    def with_fixed_deviation(self, inputs: Tensor) -> Callable[[Tensor], Tensor]:
        """The same with the deviation that it has at ``inputs``, as a constant: linear but for a shift."""
        deviation = self.deviation(inputs)
        scale = 1 / deviation if self.divides else deviation
        return lambda values: self.centred(values) * scale


def _is_narrower(deviation: fx.Node, root: fx.Node) -> bool:
    """Whether it is one number for many: the same sides, of which some are one long."""
    sides: list[Any] = [list(map(str, node.meta["val"].shape)) for node in (deviation, root)]
    narrow, wide = sides
    if len(narrow) != len(wide) or narrow == wide:
        return False
    return all(one in (other, "1") for one, other in zip(narrow, wide, strict=True))
