"""Calls of a captured graph as templates: functions of values of the walk, with live weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from benchmark.errors import TaskError
from benchmark.network.calls import ALIKE
from benchmark.network.captured import Call, Place, Slot
from benchmark.network.nodes import call_name, length_of
from benchmark.network.programs import Program

_ATEN = torch.ops.aten


class Templates:
    """Templates of the nodes of a program, of which some stand in the walk.

    Args:
        program: the program.
        place: position in the walk of every node that has one; -1 for one that only its parts have. It may
            grow.
    """

    def __init__(self, program: Program, place: dict[fx.Node, int]) -> None:
        self._program, self._place = program, place

    def call(self, node: fx.Node, sources: list[fx.Node], item: int | None = None) -> Call:
        """The template of a node's call; nodes of the walk that it reads are added to ``sources``."""
        target: Any = node.target
        if call_name(node) in ALIKE and sources:
            return self._alike(node, sources)
        if target in (_ATEN.view.default, _ATEN._unsafe_view.default):
            target = _ATEN.reshape.default  # gradients have other strides
        for part in node.all_input_nodes:
            if (
                self._place.get(part, -1) >= 0
                and part not in sources
                and not call_name(node).startswith("new_")
            ):
                sources.append(part)
        given = list(node.args)
        if call_name(node).startswith("new_") and sources and given[0] in self._place:
            given[0] = sources[0]  # which tells the type and the device alone
        arguments = tuple(self.argument(part, sources) for part in given)
        keywords = tuple((name, self.argument(part, sources)) for name, part in node.kwargs.items())
        return Call(target, arguments, keywords, item)

    def alone(self, node: fx.Node, root: fx.Node) -> Any:
        """A node's value as a function of a root's: no call between is an operation, whatever reads it."""
        return Templates(self._program, {root: self._place[root]}).argument(node, [root])

    def _alike(self, node: fx.Node, sources: list[fx.Node]) -> Call:
        """Numbers in a value's shape, which is no source by that: the first source tells the type."""
        name, value, first = call_name(node), node.meta["val"], sources[0].meta["val"]
        shape = tuple(length_of(side, sources) for side in value.shape)
        numbers = tuple(self.argument(part, sources) for part in node.args[1:])
        keywords = () if value.dtype == first.dtype else (("dtype", value.dtype),)
        made = getattr(_ATEN, f"new_{name.removesuffix('_like')}").default
        return Call(made, (Slot(0), shape, *numbers), keywords)

    def argument(self, part: Any, sources: list[fx.Node]) -> Any:
        """What stands for an argument."""
        if isinstance(part, fx.Node):
            return self._node(part, sources)
        if isinstance(part, tuple | list):
            return tuple(self.argument(one, sources) for one in part)
        if isinstance(part, slice):
            raise TaskError("a victim must not cut tensors by what it computes")
        return Place() if isinstance(part, torch.device) else part

    def _node(self, node: fx.Node, sources: list[fx.Node]) -> Any:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt | int) and not isinstance(value, bool):
            return length_of(value, sources)
        if self._place.get(node, -1) >= 0:
            if node not in sources:
                sources.append(node)
            return Slot(sources.index(node))
        if (stored := self._program.stored(node)) is not None:
            return stored
        if call_name(node) == "getitem":
            several, item = node.args
            assert isinstance(several, fx.Node) and isinstance(item, int)
            return self.call(several, sources, item)
        return self.call(node, sources)
