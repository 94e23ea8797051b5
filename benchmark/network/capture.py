"""From any classifier to the operations of its walk, by ``torch.export``: one functional graph of ATen calls.

It takes what ``torch.fx`` refuses: shapes that are computed with, bare parameters, attention. The graph is
made once, for inputs of one size and any batch; what is kept of it are operations whose weights are read
live.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn

from benchmark.errors import TaskError
from benchmark.network.activations import Prelu, hard_activation
from benchmark.network.affines import LAYERS, layer_of
from benchmark.network.attention import open_attention, turn_softmaxes
from benchmark.network.calls import KINDS, NO_VALUE, SAME, SUMS
from benchmark.network.captured import (
    Call,
    Captured,
    CapturedAffine,
    ChannelScale,
    Linear,
    Norm,
    Slot,
)
from benchmark.network.exporting import exported
from benchmark.network.hand_norms import HandNorms, NormalizeByHand
from benchmark.network.kinds import kind_of
from benchmark.network.kinks import Extremum, Spelt
from benchmark.network.nodes import call_name, values_read
from benchmark.network.operations import (
    Activation,
    Add,
    MaxPool,
    Operation,
    Other,
    Wrapped,
)
from benchmark.network.programs import Program
from benchmark.network.rewrites import drop_copies, keep_batch, part_sums
from benchmark.network.signs import mark_non_negative
from benchmark.network.spellings import Spellings, extremes
from benchmark.network.templates import Templates
from benchmark.network.tracing import modules_of

_ATEN = torch.ops.aten


def capture(module: nn.Module, size: tuple[int, ...]) -> list[Operation]:
    """The module's operations in order; their ``sources`` index into the values of the walk.

    Args:
        module: classifier in evaluation mode, a function of one tensor ``[N, *size]``; its weights are read
            whenever an operation is used.
        size: channels, height and width of an input; the walk takes inputs of this size alone.

    Raises:
        TaskError: ``torch.export`` cannot capture the module, or it does not give one tensor of logits.
    """
    steps = _Compilation(module, exported(module, size)).operations
    for step in steps:
        step.captured_at = tuple(size)
    return steps


class _Compilation:
    """Operations so far, and where in the walk the value of every node of the graph stands."""

    def __init__(self, module: nn.Module, program: Any) -> None:
        self.module = module
        self.operations: list[Operation] = []
        self._place: dict[fx.Node, int] = {}
        self._homes: dict[str, fx.Node] = {}
        """For each operation's name while they are made, the node that it is named after."""
        self._program = Program(program)
        self._templates = Templates(self._program, self._place)
        graph = self._program.graph
        open_attention(graph)
        turn_softmaxes(graph)
        keep_batch(graph)
        part_sums(graph)
        drop_copies(graph)
        graph.eliminate_dead_code()
        self._spellings = Spellings(graph, call_name, self._program.constant)
        self._norms = HandNorms(graph, call_name)
        taken = values_read(graph) - self._spellings.absorbed - self._norms.absorbed
        for node in graph.nodes:
            if node in taken:
                self._take(node)
        mark_non_negative(self.operations)
        self._name_all()

    def _take(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if self._program.is_input(node):
                if self._place:
                    raise TaskError("a victim must take one input tensor")
                self._place[node] = 0
        elif node.op == "output":
            self._check_output(node)
        elif node.op == "call_function" and self._is_active(node):
            self._place[node] = self._position(node)

    def _check_output(self, node: fx.Node) -> None:
        results = node.args[0]
        assert isinstance(results, tuple | list)
        specs = self._program.outputs  # images that are changed in place come beside
        results = [
            part for part, spec in zip(results, specs, strict=True) if "INPUT_MUT" not in str(spec.kind)
        ]
        given = [part for part in results if isinstance(part, fx.Node)]
        if len(results) != 1 or not given or self._place.get(given[0]) != len(self.operations):
            raise TaskError("a victim must return the logits, which it computes last")

    def _is_active(self, node: fx.Node) -> bool:
        """Whether a node's value depends on the inputs, and can be differentiated."""
        value = node.meta.get("val")
        whole = self._spellings.get(node) or self._norms.get(node)
        sources = node.all_input_nodes if whole is None else [*node.all_input_nodes, whole.root]
        if call_name(node) in NO_VALUE or not any(source in self._place for source in sources):
            return False
        parts = value if isinstance(value, tuple | list) else (value,)
        kinds = [part.dtype for part in parts if isinstance(part, Tensor)]
        return any(kind.is_floating_point or kind.is_complex for kind in kinds)

    def _position(self, node: fx.Node) -> int:
        """Position of the value of a node that is active."""
        name = call_name(node)
        first = node.args[0] if node.args else None
        if name in SAME and isinstance(first, fx.Node):
            return self._place[first]
        if name == "getitem" and isinstance(first, fx.Node):
            return self._item(node, first)
        if isinstance(node.meta.get("val"), tuple | list):
            return -1  # several results, each an operation of its own where it is taken
        if name.endswith("batch_norm_legit_no_training"):
            return self._norm(node)
        if name in SUMS and self._are_two(node):
            return self._sum(node, name)
        return self._append(self._operation(node, name))

    def _are_two(self, node: fx.Node) -> bool:
        """Whether a call's first two arguments are two values of the walk."""
        first, second = node.args[:2]
        known = (isinstance(part, fx.Node) and self._place.get(part, -1) >= 0 for part in (first, second))
        return all(known) and first is not second

    def _sum(self, node: fx.Node, name: str) -> int:
        """A sum of two branches, each multiplied by its factor before."""
        alpha: Any = node.kwargs.get("alpha", 1)
        first, second = SUMS[name]
        factors = (first * alpha, second) if name == "rsub" else (first, second * alpha)
        places = []
        for index, (part, factor) in enumerate(zip(node.args[:2], factors, strict=True)):
            assert isinstance(part, fx.Node)
            places.append(self._place[part])
            if factor != 1:
                title = f"{node.name}_{index}"
                self._homes[title] = node
                template = Call(_ATEN.mul.Scalar, (Slot(0), factor))
                scaled = Linear(title, (self._place[part],), Captured(self.module, template), "mul")
                places[-1] = self._append(scaled)
        return self._append(Add(self._title(node), tuple(places)))

    def _item(self, node: fx.Node, several: fx.Node) -> int:
        if call_name(several).endswith("batch_norm_legit_no_training"):
            return self._norm(several, node)
        sources: list[fx.Node] = []
        item = node.args[1]
        assert isinstance(item, int)
        template = self._templates.call(several, sources, item)
        kind = MaxPool if several.target is _ATEN.max.dim else KINDS.get(call_name(several), Other)
        return self._append(self._wrapped(kind, node, several, sources, template))

    def _append(self, step: Operation) -> int:
        self.operations.append(step)
        return len(self.operations)

    def _operation(self, node: fx.Node, name: str) -> Operation:
        sources: list[fx.Node] = []
        for known_as in (self._affine, self._activation, self._spelt, self._by_hand):
            if (known := known_as(node, name)) is not None:
                return known
        template = self._templates.call(node, sources)
        terms = [part for part in node.all_input_nodes if self._place.get(part, -1) >= 0]
        kind = kind_of(node, name, terms, self._program)
        return self._wrapped(kind, node, node, sources, template)

    def _wrapped(
        self, kind: type[Wrapped], node: fx.Node, called: fx.Node, sources: list[fx.Node], template: Any
    ) -> Operation:
        places = tuple(self._place[source] for source in sources)
        return kind(self._title(node), places, Captured(self.module, template), call_name(called))

    def _affine(self, node: fx.Node, name: str) -> Operation | None:
        """A convolution or fully connected layer of one input."""
        inputs, weight, bias = [*node.args, None, None, None][:3]
        if not isinstance(inputs, fx.Node) or not isinstance(weight, fx.Node):
            return None
        layer = layer_of(name, weight.meta["val"].shape, node.args[3:]) if name in LAYERS else None
        parts: list[fx.Node] = []
        templates = (
            [self._templates.argument(part, parts) for part in (weight, bias)] if layer is not None else []
        )
        if layer is None or parts or inputs not in self._place:
            return None
        places = (self._place[inputs],)
        return CapturedAffine(self._title(node), places, layer, self.module, *templates)

    def _activation(self, node: fx.Node, name: str) -> Operation | None:
        """An activation with kinks, which a smoothing may replace."""
        inputs = node.args[0] if node.args else None
        if inputs not in self._place:
            return None
        assert isinstance(inputs, fx.Node)
        place = (self._place[inputs],)
        if name in ("relu", "relu6"):
            return Activation(self._title(node), place, capped=name == "relu6")
        if name == "prelu":
            parts: list[fx.Node] = []
            weight = self._templates.argument(node.args[1], parts)
            return None if parts else Prelu(self._title(node), place, Captured(self.module, weight))
        return hard_activation(self._title(node), place, name, node.args[1:], node.kwargs)

    def _spelt(self, node: fx.Node, name: str) -> Operation | None:
        """An activation with kinks that is spelt otherwise, or the larger or smaller of two values."""
        spelling = self._spellings.get(node)
        if spelling is None and (pair := extremes(node, name)) is not None:
            sources: list[fx.Node] = []
            function = Captured(self.module, self._templates.call(node, sources))
            first, second = (
                Captured(self.module, self._templates.argument(part, sources)) for part in pair[:2]
            )
            places = tuple(self._place[source] for source in sources)
            return Extremum(self._title(node), places, function, name, (first, second), pair[2])
        if spelling is None or spelling.root not in self._place:
            return None
        place = (self._place[spelling.root],)
        return Spelt(self._title(node), place, spelling.shape, self._alone(node, spelling.root), name)

    def _by_hand(self, node: fx.Node, name: str) -> Operation | None:
        """A normalization of several calls."""
        norm = self._norms.get(node)
        if norm is None or norm.root not in self._place:
            return None
        place = (self._place[norm.root],)
        function, *parts = (self._alone(part, norm.root) for part in (node, norm.centred, norm.deviation))
        return NormalizeByHand(self._title(node), place, function, (parts[0], parts[1]), name == "div")

    def _alone(self, node: fx.Node, root: fx.Node) -> Captured:
        """A node's value as a function of a root's, with weights that are read live."""
        return Captured(self.module, self._templates.alone(node, root))

    def _norm(self, node: fx.Node, reader: fx.Node | None = None) -> int:
        """A batch norm, folded into the layer before it where nothing else reads that layer."""
        if reader is None:
            return -1
        inputs, weight, bias, mean, variance = node.args[:5]
        assert isinstance(inputs, fx.Node)
        parts: list[fx.Node] = []
        weight, bias, mean, variance = (
            self._templates.argument(p, parts) for p in (weight, bias, mean, variance)
        )
        if parts:
            raise TaskError("a victim's batch norm must have running statistics")
        norm = Norm(weight, bias, mean, variance, float(node.args[6]))  # type: ignore[arg-type]
        place = self._place[inputs]
        before = self.operations[place - 1] if place else None
        plain = isinstance(before, CapturedAffine) and isinstance(before.layer, nn.Conv2d)
        if plain and before.captured_norm is None and len(inputs.users) == 1:  # type: ignore[union-attr]
            before.captured_norm = norm  # type: ignore[union-attr]
            self._end(reader, place)
            return place
        return self._append(ChannelScale(self._title(reader), (place,), self.module, norm))

    def _end(self, node: fx.Node, place: int) -> None:
        """Notes whose output a value is, of a module that adds no operation."""
        if place > 0 and modules_of(node):
            self.operations[place - 1].ends += (modules_of(node)[-1],)

    def _title(self, node: fx.Node) -> str:
        """A name for the operation of a node, until all are known."""
        self._homes[node.name] = node
        return node.name

    def _name_all(self) -> None:
        """Names operations after the modules that they are all of, others after both."""
        for step in self.operations:
            step.modules = modules_of(self._homes[step.name])
        inner = Counter(step.modules[-1] for step in self.operations if step.modules)
        for step in self.operations:
            module = step.modules[-1] if step.modules else ""
            step.name = module if inner[module] == 1 else f"{module}.{step.name}".strip(".")
