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
from benchmark.network.calls import ALIKE, KINDS, NO_VALUE, SAME, SHAPES_ALONE, SUMS
from benchmark.network.captured import (
    Call,
    Captured,
    CapturedAffine,
    ChannelScale,
    Linear,
    MatMul,
    Norm,
    Place,
    Product,
    Rearrange,
    Slot,
    Softmax,
    Stored,
    Weight,
)
from benchmark.network.exporting import exported
from benchmark.network.hand_norms import HandNorms, NormalizeByHand
from benchmark.network.kinks import Extremum, Spelt
from benchmark.network.nodes import call_name, length_of, values_read
from benchmark.network.operations import (
    Activation,
    Add,
    MaxPool,
    Operation,
    Other,
    Wrapped,
)
from benchmark.network.rewrites import keep_batch
from benchmark.network.signs import mark_non_negative
from benchmark.network.spellings import Spellings, extremes
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
        self.module, self._program = module, program
        self.operations: list[Operation] = []
        self._place: dict[fx.Node, int] = {}
        self._nodes: dict[int, fx.Node] = {}
        """For each operation's position, the node whose value it is."""
        signature = program.graph_signature
        self._weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._constants = signature.inputs_to_lifted_tensor_constants
        self._known_dependence: dict[fx.Node, bool] = {}
        self._homes: dict[str, fx.Node] = {}
        """For each operation's name while they are made, the node that it is named after."""
        graph = program.graph_module.graph
        open_attention(graph)
        turn_softmaxes(graph)
        keep_batch(graph)
        graph.eliminate_dead_code()
        self._spellings = Spellings(graph, call_name, self._constant)
        self._norms = HandNorms(graph, call_name)
        taken = values_read(graph) - self._spellings.absorbed - self._norms.absorbed
        for node in graph.nodes:
            if node in taken:
                self._take(node)
        mark_non_negative(self.operations)
        self._name_all()

    def _take(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            if node.name not in self._weights and node.name not in self._constants:
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
        specs = self._program.graph_signature.output_specs  # images that are changed in place come beside
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

    def _depends(self, node: Any) -> bool:
        """Whether a value follows from the inputs' values, with a gradient or without."""
        if not isinstance(node, fx.Node) or node.op in ("output", "get_attr"):
            return False
        if node not in self._known_dependence:
            value = node.meta.get("val")
            if node.op == "placeholder":
                found = node.name not in self._weights and node.name not in self._constants
            elif isinstance(value, torch.SymInt | int) or call_name(node) in SHAPES_ALONE:
                found = False
            else:
                found = any(self._depends(part) for part in node.all_input_nodes)
            self._known_dependence[node] = found
        return self._known_dependence[node]

    def _item(self, node: fx.Node, several: fx.Node) -> int:
        if call_name(several).endswith("batch_norm_legit_no_training"):
            return self._norm(several, node)
        sources: list[fx.Node] = []
        template = self._call(several, sources, int(node.args[1]))  # type: ignore[arg-type]
        kind = MaxPool if several.target is _ATEN.max.dim else KINDS.get(call_name(several), Other)
        return self._append(self._wrapped(kind, node, several, sources, template))

    def _append(self, step: Operation) -> int:
        self.operations.append(step)
        return len(self.operations)

    def _operation(self, node: fx.Node, name: str) -> Operation:
        sources: list[fx.Node] = []
        for kind in (self._affine, self._activation, self._spelt, self._by_hand):
            if (known := kind(node, name)) is not None:
                return known
        template = self._call(node, sources)
        return self._wrapped(self._kind(node, name), node, node, sources, template)

    def _kind(self, node: fx.Node, name: str) -> type[Wrapped]:
        """What a call is to explainers; nothing in particular where no rule of theirs would hold."""
        kind = KINDS.get(name, Other)
        terms = [part for part in node.all_input_nodes if self._place.get(part, -1) >= 0]
        if kind is Rearrange and any(
            self._depends(part) for part in node.all_input_nodes if part not in terms
        ):
            return Other  # what is moved, or masked, follows from the image
        if name == "instance_norm" and not node.args[5]:
            return Other  # by running statistics
        if kind is Softmax and node.args[1] not in (-1, len(node.meta["val"].shape) - 1):
            return Other  # of another side, which no rule here goes along
        if name == "mul" or kind is MatMul:
            if len(terms) == 2:
                return Product if name == "mul" else MatMul
            given: Any = node.args
            pair = [*given[1]] if name == "einsum" else [*given[:2]]  # einsum has its terms in a list
            alone = sum(part is terms[0] for part in pair) == 1
            rest = (part for part in pair if part is not terms[0])
            return Linear if alone and not any(map(self._depends, rest)) else Other
        if name in ("add", "sub", "rsub", "div"):
            others = [part for part in node.args[:2] if part is not terms[0]]
            twice = not others and name == "add"  # x + x, which is linear; x / x is not, and x - x is nothing
            constant = bool(others) and not any(map(self._depends, others))
            divides = name != "div" or terms == [node.args[0]]
            return Linear if (constant and divides) or twice else Other
        return Linear if name == "neg" else kind

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
        templates = [self._template(part, parts) for part in (weight, bias)] if layer is not None else []
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
            weight = self._template(node.args[1], parts)
            return None if parts else Prelu(self._title(node), place, Captured(self.module, weight))
        return hard_activation(self._title(node), place, name, node.args[1:], node.kwargs)

    def _spelt(self, node: fx.Node, name: str) -> Operation | None:
        """An activation with kinks that is spelt otherwise, or the larger or smaller of two values."""
        spelling = self._spellings.get(node)
        if spelling is None and (pair := extremes(node, name)) is not None:
            sources: list[fx.Node] = []
            function = Captured(self.module, self._call(node, sources))
            first, second = (Captured(self.module, self._template(part, sources)) for part in pair[:2])
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
        """A node's value as a function of a root's: no call between is an operation, whatever reads it."""
        known = self._place
        self._place = {root: known[root]}
        try:
            return Captured(self.module, self._template(node, [root]))
        finally:
            self._place = known

    def _constant(self, node: fx.Node) -> Tensor | None:
        """The tensor that a node always is."""
        if node.op == "get_attr":
            value = getattr(self._program.graph_module, str(node.target))
        else:
            value = self._program.constants.get(self._constants.get(node.name, ""))
        return value if isinstance(value, Tensor) else None

    def _norm(self, node: fx.Node, reader: fx.Node | None = None) -> int:
        """A batch norm, folded into the layer before it where nothing else reads that layer."""
        if reader is None:
            return -1
        inputs, weight, bias, mean, variance = node.args[:5]
        assert isinstance(inputs, fx.Node)
        parts: list[fx.Node] = []
        weight, bias, mean, variance = (self._template(p, parts) for p in (weight, bias, mean, variance))
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

    def _call(self, node: fx.Node, sources: list[fx.Node], item: int | None = None) -> Call:
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
        arguments = tuple(self._template(part, sources) for part in given)
        keywords = tuple((name, self._template(part, sources)) for name, part in node.kwargs.items())
        return Call(target, arguments, keywords, item)

    def _alike(self, node: fx.Node, sources: list[fx.Node]) -> Call:
        """Numbers in a value's shape, which is no source by that: the first source tells the type."""
        name, value, first = call_name(node), node.meta["val"], sources[0].meta["val"]
        shape = tuple(length_of(side, sources) for side in value.shape)
        numbers = tuple(self._template(part, sources) for part in node.args[1:])
        keywords = () if value.dtype == first.dtype else (("dtype", value.dtype),)
        made = getattr(_ATEN, f"new_{name.removesuffix('_like')}").default
        return Call(made, (Slot(0), shape, *numbers), keywords)

    def _template(self, part: Any, sources: list[fx.Node]) -> Any:
        """What stands for an argument."""
        if isinstance(part, fx.Node):
            return self._node(part, sources)
        if isinstance(part, tuple | list):
            return tuple(self._template(one, sources) for one in part)
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
        if node.op == "placeholder":
            if node.name in self._weights:
                return Weight(self._weights[node.name])
            return Stored(self._program.constants[self._constants[node.name]])
        if node.op == "get_attr":
            return Stored(getattr(self._program.graph_module, str(node.target)))
        if call_name(node) == "getitem":
            several, item = node.args
            assert isinstance(several, fx.Node)
            return self._call(several, sources, int(item))  # type: ignore[arg-type]
        return self._call(node, sources)

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
