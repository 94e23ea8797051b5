"""Attention of a captured graph, however it is written, as products and a softmax along the last side."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from benchmark.errors import TaskError
from benchmark.network.nodes import call_name

_ATEN = torch.ops.aten
_MOVES = frozenset((
    "view", "_unsafe_view", "reshape", "permute", "transpose", "expand", "clone", "contiguous", "alias",
    "dropout", "unsqueeze", "squeeze", "flatten", "unflatten",
))  # fmt: skip
_PRODUCTS = ("matmul", "bmm", "einsum")


def open_attention(graph: fx.Graph) -> None:
    """Writes fused attention as products and a softmax, which can be walked through and looked at."""
    for node in list(graph.nodes):
        if node.op != "call_function" or call_name(node) != "scaled_dot_product_attention":
            continue
        given: dict[str, Any] = dict(
            zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), node.args, strict=False)
        )
        given |= node.kwargs
        query, key, value = (given[name] for name in ("query", "key", "value"))
        mask = given.get("attn_mask")
        sides = query.meta["val"].shape
        scale = given.get("scale") or 1 / math.sqrt(int(sides[-1]))

        def add(function: Callable[..., Any], *arguments: Any, like: fx.Node = node) -> fx.Node:
            return _added(graph, function, arguments, like)

        with graph.inserting_before(node):
            if given.get("enable_gqa"):
                heads = int(sides[-3])
                key, value = (_shared(add, part, heads) for part in (key, value))
            rows = add(_ATEN.mul.Scalar, query, scale)
            scores = add(_ATEN.matmul.default, rows, add(_ATEN.transpose.int, key, -2, -1))
            if given.get("is_causal"):
                later = _later(graph, scores)
                scores = add(_ATEN.masked_fill.Scalar, scores, later, -math.inf)
            if mask is not None and mask.meta["val"].dtype == torch.bool:
                hidden = add(_ATEN.logical_not.default, mask)
                scores = add(_ATEN.masked_fill.Scalar, scores, hidden, -math.inf)
            elif mask is not None:
                scores = add(_ATEN.add.Tensor, scores, mask)
            result = add(_ATEN.matmul.default, add(_ATEN.softmax.int, scores, -1), value)
        node.replace_all_uses_with(result)
        graph.erase_node(node)


def turn_softmaxes(graph: fx.Graph) -> None:
    """Writes all shares of attention, exponentials too, as a softmax along the last side.

    Others that are not multiplied with what they weigh stay what they are.
    """
    for node in list(graph.nodes):
        if node.op != "call_function" or not _is_multiplied(node):
            continue
        exponents = _exponents(node)
        if exponents is not None:
            scores, side = exponents
        elif call_name(node) in ("softmax", "_softmax"):
            scores, side = node.args[0], node.args[1]
        else:
            continue
        sides = len(node.meta["val"].shape)
        turned = side % sides == sides - 2
        if sides < 3 or (side % sides != sides - 1 and not turned) or (exponents is None and not turned):
            continue
        with graph.inserting_before(node):
            if turned:
                scores = _added(graph, _ATEN.transpose.int, (scores, -2, -1), node)
            shares = _added(graph, _ATEN.softmax.int, (scores, -1), node)
            if turned:
                shares = _added(graph, _ATEN.transpose.int, (shares, -2, -1), node)
        node.replace_all_uses_with(shares)
        graph.erase_node(node)


def _added(
    graph: fx.Graph, function: Callable[..., Any], arguments: tuple[Any, ...], like: fx.Node
) -> fx.Node:
    """A call in the graph, as one that stands in the same module."""
    made = graph.call_function(function, arguments)
    values = [a.meta["val"] if isinstance(a, fx.Node) else a for a in arguments]
    made.meta = {key: like.meta[key] for key in ("nn_module_stack",) if key in like.meta}
    made.meta["val"] = function(*values)
    return made


def _exponents(node: fx.Node) -> tuple[fx.Node, int] | None:
    """Of ``exp(x) / exp(x).sum(side, keepdim=True)`` x and the side; None of anything else."""
    if call_name(node) != "div" or len(node.args) != 2 or node.kwargs:
        return None
    above, below = node.args
    if not isinstance(above, fx.Node) or not isinstance(below, fx.Node):
        return None
    summed = call_name(below) == "sum" and len(below.args) == 3 and below.args[0] is above and below.args[2]
    if call_name(above) != "exp" or not summed or below.kwargs:
        return None
    scores, along = above.args[0], below.args[1]
    if not isinstance(scores, fx.Node) or not isinstance(along, list | tuple) or len(along) != 1:
        return None
    return (_unshifted(scores, along[0]), along[0]) if isinstance(along[0], int) else None


def _unshifted(scores: fx.Node, side: int) -> fx.Node:
    """Of scores less their largest, which changes no softmax along that side, the scores."""
    if call_name(scores) != "sub" or len(scores.args) != 2 or scores.kwargs:
        return scores
    whole, largest = scores.args
    if not isinstance(whole, fx.Node) or not isinstance(largest, fx.Node) or call_name(largest) != "amax":
        return scores
    return whole if largest.args == (whole, [side], True) else scores


def _is_multiplied(node: fx.Node) -> bool:
    """Whether a value, but for moves, is a factor of a product of matrices."""
    return any(
        call_name(user) in _PRODUCTS or (call_name(user) in _MOVES and _is_multiplied(user))
        for user in node.users
        if user.op == "call_function"
    )


def _shared(add: Callable[..., fx.Node], part: fx.Node, heads: int) -> fx.Node:
    """Keys or values ``[N, groups, T, D]``, each for the heads of its group: ``[N, heads, T, D]``."""
    sides = part.meta["val"].shape
    groups = int(sides[-3])
    if groups == heads:
        return part
    if len(sides) != 4:
        raise TaskError("a victim's grouped attention must be of images, heads, tokens and channels")
    apart = add(_ATEN.unsqueeze.default, part, 2)
    several = add(_ATEN.expand.default, apart, [-1, -1, heads // groups, -1, -1])
    return add(_ATEN.flatten.using_ints, several, 1, 2)


def _later(graph: fx.Graph, scores: fx.Node) -> fx.Node:
    """Which positions come after each, ``[T, T]``: a constant, since the number of tokens is one."""
    value, module = scores.meta["val"], graph.owning_module
    rows, columns = value.shape[-2:]
    if not (isinstance(rows, int) and isinstance(columns, int)) or module is None:
        raise TaskError("a victim must not hide later positions from attention among images")
    name = f"_later_{rows}_{columns}"
    if not hasattr(module, name):
        module.register_buffer(name, torch.ones(rows, columns).triu(1).bool(), persistent=False)
    node = graph.get_attr(name)
    node.meta["val"] = value.new_ones((rows, columns), dtype=torch.bool)
    return node
