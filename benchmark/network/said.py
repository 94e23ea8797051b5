"""What a running network says of its values in calls of torch: numbers, lines of others, comparisons.

The same spellings of activations are found as in a graph (:mod:`benchmark.network.spellings`): calls that
may be a part of one are noted as they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from benchmark.network.spellings import PARTS, Reader, Spelling, extremes

_OTHER_NAMES = {
    "absolute": "abs", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "multiply": "mul", "divide": "div", "true_divide": "div", "subtract": "sub", "negative": "neg",
    "radd": "add", "rmul": "mul", "imul": "mul", "iadd": "add", "isub": "sub", "itruediv": "div",
    "setitem": "masked_fill", "index_put": "masked_fill",
}  # fmt: skip
_WRITES = frozenset(("imul", "iadd", "isub", "itruediv", "setitem"))


@dataclass(frozen=True)
class Said:
    """A call of torch's.

    Args:
        name: as torch calls the function, without what says that it works in place.
        given: arguments by position, the input first.
        named: arguments by name.
        in_place: whether the first argument becomes the result.
    """

    name: str
    given: tuple[Any, ...]
    named: Mapping[str, Any]
    in_place: bool = False

    @classmethod
    def of(cls, function: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> Said:
        """The call of a function, as torch hands it to a mode."""
        full = str(getattr(function, "__name__", "")).partition(".")[0]
        name = full.strip("_")
        in_place = (full.endswith("_") and not full.endswith("__")) or name in _WRITES
        left = dict(named)
        if not given and isinstance(left.get("input"), Tensor):
            given = (left.pop("input"),)
        if function is Tensor.where and len(given) == 3:
            given = (given[1], given[0], given[2])
        if name == "index_put" and len(given) == 3 and len(given[1]) == 1:
            given = (given[0], *given[1], given[2])
        return cls(_OTHER_NAMES.get(name, name), given, left, in_place)

    def without_flags(self) -> Said:
        """An activation's call without ``inplace`` and ``training``, which follow the numbers."""
        flags = [value for value in self.given if isinstance(value, bool)]
        says = flags[1:] if self.name == "rrelu" else flags
        named = {key: value for key, value in self.named.items() if key not in ("inplace", "training")}
        in_place = self.in_place or bool(self.named.get("inplace", any(says)))
        given = tuple(value for value in self.given if not isinstance(value, bool))
        return replace(self, given=given, named=named, in_place=in_place)


class Record:
    """Calls of one pass, as far as spellings are made of them; tensors that no image is behind.

    Args:
        constants: tensors that are the same for all images, as weights are.
    """

    def __init__(self, constants: Iterable[Tensor]) -> None:
        self._graph = fx.Graph()
        self._constants = {id(tensor): (tensor, _version(tensor)) for tensor in constants}
        self._nodes: dict[int, tuple[Tensor, int, fx.Node]] = {}
        self._reader = Reader(
            lambda node: str(node.meta.get("call", "")), lambda node: node.meta.get("number")
        )

    def constant(self, tensor: Tensor) -> bool:
        """Whether no image is behind a tensor, as far as it is known."""
        known = self._constants.get(id(tensor))
        return known is not None and known[1] == _version(tensor)

    def number(self, value: Any) -> Any:
        """A tensor of one number that no image is behind as that number; anything else as it is."""
        if not isinstance(value, Tensor) or not self._single(value):
            return value
        return float(value)

    def spelling(self, said: Said) -> tuple[Tensor, Spelling] | None:
        """What activation a call ends, and its input, where it ends one."""
        calls = (self._known(one) and "call" in self._node(one).meta for one in tensors(said.given))
        if said.named or len(said.given) not in (2, 3) or not any(calls):
            return None
        spelling = self._reader.spelling(self._node_of(said))
        if spelling is None:
            return None
        root: Tensor = spelling.root.meta["val"]
        given = [*tensors(said.given)]
        same = torch.broadcast_shapes(*(value.shape for value in given)) == root.shape
        return (root, spelling) if same and _alike([root, *given]) else None

    def extremes(self, said: Said) -> tuple[Tensor, Tensor, bool] | None:
        """The two values of which a call gives the larger one, or the smaller one, and which it is."""
        found = extremes(self._node_of(said), said.name)
        if found is None:
            return None
        first, second = (node.meta["val"] for node in found[:2])
        return (first, second, found[2]) if _alike([first, second]) else None

    def note(self, said: Said, result: Any) -> None:
        """Keeps what a call says of its result."""
        given = [*tensors([*said.given, *said.named.values()])]
        if all(map(self.constant, given)):
            for tensor in tensors([result]):
                self._constants[id(tensor)] = tensor, _version(tensor)
        if said.name not in PARTS or said.in_place or not isinstance(result, Tensor):
            return
        if len(given) < 2 or any(self._known(tensor) or self._single(tensor) for tensor in given):
            node = self._node_of(said)
            node.meta["val"] = result
            self._nodes[id(result)] = result, _version(result), node

    def _single(self, tensor: Tensor) -> bool:
        real = tensor.numel() == 1 and not tensor.is_complex()
        return real and not tensor.requires_grad and self.constant(tensor)

    def _known(self, tensor: Tensor) -> bool:
        known = self._nodes.get(id(tensor))
        return known is not None and known[1] == _version(tensor)

    def _node(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not self._known(value):
            node = self._graph.placeholder(f"value_{len(self._nodes)}")
            node.meta["val"] = value
            if self._single(value):
                node.meta["number"] = value
            self._nodes[id(value)] = value, _version(value), node
        return self._nodes[id(value)][2]

    def _node_of(self, said: Said) -> fx.Node:
        named = {key: self._node(value) for key, value in said.named.items()}
        node = self._graph.call_function(torch.add, tuple(map(self._node, said.given)), named)
        node.meta["call"] = said.name
        return node


def tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """Tensors among values, and in lists of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors(value)


def _alike(values: Iterable[Tensor]) -> bool:
    """Whether all are real numbers of one type, or masks; single numbers take the others' type."""
    kinds = {value.dtype for value in values if value.dtype != torch.bool and value.dim()}
    return len(kinds) == 1 and kinds.pop().is_floating_point


def _number(node: fx.Node) -> Tensor | None:
    found: Tensor | None = node.meta.get("number")
    return found


def _version(tensor: Tensor) -> int:
    """By which a value that was changed in place is told; views have their whole's."""
    return 0 if tensor.is_inference() else tensor._version
