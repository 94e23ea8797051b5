"""From a module to the operations of its walk: traced, batch norms folded, nothing in place."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from benchmark.errors import TaskError
from benchmark.network.activations import activation, hard_activation
from benchmark.network.kinks import Extremum, Spelt
from benchmark.network.operations import (
    Activation,
    Add,
    Affine,
    AveragePool,
    Concatenation,
    MaxPool,
    Normalization,
    Operation,
    Other,
    Reshape,
    SmoothActivation,
    Wrapped,
)
from benchmark.network.signs import mark_non_negative
from benchmark.network.spellings import Spellings, extremes, torch_name
from benchmark.network.timm_layers import is_activated_norm

_IN_PLACE_OPERATORS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
_SHAPE_CALLS = (getattr, "size", "dim", "numel")
_CAPPED_BY_CALL = {
    torch.relu: False,
    functional.relu: False,
    "relu": False,
    functional.relu6: True,
}
_HARD = ("leaky_relu", "rrelu", "hardtanh", "hardswish", "hardsigmoid", "clamp", "clamp_min", "clamp_max")
_SMOOTH = (
    *(torch.sigmoid, torch.tanh, "sigmoid", "tanh", functional.silu, functional.gelu, functional.elu),
    *(functional.softplus, functional.mish, functional.selu, functional.celu),
)
_WRAPPED_BY_CALL: dict[Any, type[Wrapped]] = {
    **dict.fromkeys(["flatten", "view", "reshape", "squeeze", "unsqueeze"], Reshape),
    **dict.fromkeys([torch.flatten, torch.reshape, torch.squeeze, torch.unsqueeze], Reshape),
    **dict.fromkeys(["mean", torch.mean], AveragePool),
    **dict.fromkeys([functional.avg_pool2d, functional.adaptive_avg_pool2d], AveragePool),
    **dict.fromkeys([torch.max_pool2d, functional.max_pool2d], MaxPool),
    **dict.fromkeys([torch.cat, torch.concat], Concatenation),
    **dict.fromkeys(_SMOOTH, SmoothActivation),
}


class _Tracer(fx.Tracer):
    """Keeps convolutions (timm's have data-dependent padding) and normalizations whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)
        return whole or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module) -> list[Operation]:
    """The module's operations in order; their ``sources`` index into the values of the walk.

    Args:
        module: classifier in evaluation mode, a function of one tensor.

    Raises:
        TaskError: the module cannot be walked; the text names the call.
    """
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # whatever the network's own code makes of values that it cannot look at
        raise TaskError(f"torch.fx cannot trace this victim: {error}") from error
    _check_in_place(graph, module)
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    spellings = Spellings(graph, torch_name)
    compilation = _Compilation(module, spellings)
    for node in graph.nodes:
        if node not in spellings.absorbed:
            compilation.take(node)
        for step in compilation.operations[len(compilation.homes) :]:
            compilation.homes.append(node)
            step.modules = modules_of(node)
    mark_non_negative(compilation.operations)
    return compilation.operations


def modules_of(node: fx.Node) -> tuple[str, ...]:
    """Qualified names of the modules in whose calls a node was made, outermost first."""
    return tuple(str(module) for module, _ in (node.meta.get("nn_module_stack") or {}).values() if module)


class _Compilation:
    """Operations so far, and where in the walk the value of every node stands."""

    def __init__(self, module: nn.Module, spellings: Spellings) -> None:
        self.module, self.spellings = module, spellings
        self.operations: list[Operation] = []
        self.position: dict[fx.Node, int] = {}
        self.homes: list[fx.Node] = []
        """For each operation, the node that it was made of."""

    def take(self, node: fx.Node) -> None:
        """Adds what one node of the graph stands for."""
        match node.op:
            case "placeholder":
                if self.position:
                    raise TaskError("a victim must take one input tensor")
                self.position[node] = 0
            case "output":
                result = node.args[0]
                if not isinstance(result, fx.Node) or self.position[result] != len(self.operations):
                    raise TaskError("a victim must return the logits, which it computes last")
            case "call_module":
                self.position[node] = self._module(node, self.module.get_submodule(str(node.target)))
            case "get_attr":
                raise TaskError(f"a victim must not use a bare parameter ({node.target})")
            case _:
                self.position[node] = self._call(node)

    def _append(self, operation: Operation) -> int:
        taken = sum(step.name.partition(":")[0] == operation.name for step in self.operations)
        if taken:  # a module that is called several times
            operation.name = f"{operation.name}:{taken + 1}"
        self.operations.append(operation)
        return len(self.operations)

    def _module(self, node: fx.Node, module: nn.Module) -> int:
        """Position of the value of a module call."""
        if len(node.all_input_nodes) != 1:
            raise TaskError(f"{node.target}: a module must take one tensor")
        name, source = str(node.target), self.position[node.all_input_nodes[0]]
        if Normalization.knows(module):
            return self._normalization(name, source, module)
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Identity):
            self._end(name, source)
            return source
        return self._append(_operation(name, (source,), module))

    def _end(self, name: str, place: int) -> None:
        """Notes whose output a value is, of a module that adds no operation."""
        if place:
            self.operations[place - 1].ends += (name,)

    def _normalization(self, name: str, source: int, norm: nn.BatchNorm2d) -> int:
        """A batch norm, folded into the layer before it where nothing else reads that layer."""
        before = self.operations[source - 1] if source else None
        readers = [len(node.users) for node, place in self.position.items() if place == source]
        plain = isinstance(before, Affine) and isinstance(
            before.layer, nn.Conv2d
        )  # a Linear's last side is no channel
        if isinstance(before, Affine) and plain and before.norm is None and max(readers) == 1:
            before.norm = norm
            self._end(name, source)
        else:
            source = self._append(Normalization(name, (source,), norm))
        activation = getattr(norm, "act", None) if is_activated_norm(norm) else None
        if activation is not None and not isinstance(activation, nn.Identity):
            source = self._append(_operation(f"{name}.act", (source,), activation))
        return source

    def _call(self, node: fx.Node) -> int:
        """Position of the value of a function or method call."""
        if node.target in _SHAPE_CALLS:
            raise TaskError(f"a victim must not compute with shapes ({node.name}); use flatten(1)")
        if (spelt := self._spelt(node)) is not None:
            return self._append(spelt)
        tensors = node.all_input_nodes
        sources = tuple(self.position[argument] for argument in tensors)
        target, _ = _pure(node)
        if target is functional.dropout and not node.kwargs.get("training", True):
            return sources[0]
        if target in (operator.add, torch.add, "add") and len(sources) == 2 and not node.kwargs:
            return self._append(Add(node.name, sources))
        if target in _CAPPED_BY_CALL:
            return self._append(Activation(node.name, sources, _CAPPED_BY_CALL[target]))

        if (hard := self._hard(node, target, sources)) is not None:
            return self._append(hard)
        kind, run = _WRAPPED_BY_CALL.get(target, Other), _recomputed(node, tensors)
        return self._append(kind(node.name, sources, run, str(getattr(target, "__name__", target))))

    def _hard(self, node: fx.Node, target: Any, sources: tuple[int, ...]) -> Operation | None:
        """A call of a piecewise linear activation other than the ReLU."""
        name = target if isinstance(target, str) else getattr(target, "__name__", "")
        if len(sources) != 1 or name not in _HARD:
            return None
        return hard_activation(node.name, sources, name, node.args[1:], node.kwargs)

    def _spelt(self, node: fx.Node) -> Operation | None:
        """An activation with kinks that is spelt otherwise, or the larger or smaller of two values."""
        title, pair = torch_name(node), extremes(node, torch_name(node))
        if (spelling := self.spellings.get(node)) is not None:
            function = _recomputed(node, [spelling.root], spelling.inside)
            return Spelt(node.name, (self.position[spelling.root],), spelling.shape, function, title)
        if pair is None:
            return None
        roots = node.all_input_nodes
        first, second = (_recomputed(part, roots) for part in pair[:2])
        sources = tuple(self.position[root] for root in roots)
        return Extremum(node.name, sources, _recomputed(node, roots), title, (first, second), pair[2])


def _operation(name: str, sources: tuple[int, ...], module: nn.Module) -> Operation:
    """The operation of a module other than a batch norm."""
    if Affine.knows(module):
        return Affine(name, sources, module)
    known = activation(name, sources, module)
    if known is not None:
        return known
    kind: type[Wrapped] = Other
    if isinstance(module, nn.Flatten):
        kind = Reshape
    elif isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        kind = AveragePool
    elif isinstance(module, nn.MaxPool2d):
        kind = MaxPool
    run: Callable[..., Tensor] = module
    if _changes_input(module):

        def run(inputs: Tensor) -> Tensor:
            result: Tensor = module(inputs.clone())
            return result

    return kind(name, sources, run, type(module).__name__)


def _pure(node: fx.Node) -> tuple[Any, Callable[..., Any]]:
    """What a call computes, by target and by function, were it not in place."""
    target: Any = _IN_PLACE_OPERATORS.get(node.target, node.target)
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    home = Tensor if isinstance(target, str) else torch
    if name.endswith("_") and not name.endswith("__"):
        call = getattr(home, name[:-1], None)
        if call is None:
            raise TaskError(f"a victim must not change tensors in place ({node.name})")
        return (name[:-1] if isinstance(target, str) else call), call
    return target, getattr(Tensor, target) if isinstance(target, str) else target


def _recomputed(
    node: Any, roots: Sequence[fx.Node], inside: Collection[fx.Node] = ()
) -> Callable[..., Tensor]:
    """A function of the roots' values that computes a node's, and before it those that stand between."""
    between = [step for step in roots[0].graph.nodes if step in inside]
    steps = between + [node] * (node not in roots)
    calls = [_pure(step)[1] for step in steps]

    def run(*values: Tensor) -> Tensor:
        table: dict[fx.Node, Any] = dict(zip(roots, values, strict=True))
        for step, call in zip(steps, calls, strict=True):
            keywords = {**step.kwargs, "inplace": False} if "inplace" in step.kwargs else step.kwargs
            arguments: Any = fx.node.map_arg(step.args, table.__getitem__)
            named: Any = fx.node.map_arg(keywords, table.__getitem__)
            table[step] = call(*arguments, **named)
        result: Tensor = table[node]
        return result

    return run


def _changes_input(target: nn.Module | Callable[..., Any] | str) -> bool:
    if isinstance(target, nn.Module):
        return bool(getattr(target, "inplace", False))
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    return target in _IN_PLACE_OPERATORS or (name.endswith("_") and not name.endswith("__"))


def _check_in_place(graph: fx.Graph, module: nn.Module) -> None:
    """Refuses a network that overwrites a value and then uses it: the walk overwrites nothing."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        called = module.get_submodule(node.target) if node.op == "call_module" else node.target
        if node.op in ("placeholder", "output", "get_attr"):
            continue
        if not (_changes_input(called) or node.kwargs.get("inplace")):
            continue
        if any(order[reader] > order[node] for reader in node.all_input_nodes[0].users):
            raise TaskError(f"a victim must not use a tensor that it changed in place ({node.name})")
