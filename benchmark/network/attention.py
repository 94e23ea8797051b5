"""Fused attention of a captured graph, opened into products and a softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from benchmark.errors import TaskError
from benchmark.network.nodes import call_name

_ATEN = torch.ops.aten


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
        if given.get("enable_gqa"):
            raise TaskError("a victim must not group the queries of its attention")
        sides = query.meta["val"].shape
        scale = given.get("scale") or 1 / math.sqrt(int(sides[-1]))

        def add(function: Callable[..., Any], *arguments: Any, like: fx.Node = node) -> fx.Node:
            made = graph.call_function(function, arguments)
            values = [a.meta["val"] if isinstance(a, fx.Node) else a for a in arguments]
            made.meta = {key: like.meta[key] for key in ("nn_module_stack",) if key in like.meta}
            made.meta["val"] = function(*values)
            return made

        with graph.inserting_before(node):
            rows = add(_ATEN.mul.Scalar, query, scale)
            scores = add(_ATEN.matmul.default, rows, add(_ATEN.transpose.int, key, -2, -1))
            if given.get("is_causal"):
                raise TaskError("a victim must not hide later positions from its attention")
            if mask is not None and mask.meta["val"].dtype == torch.bool:
                hidden = add(_ATEN.logical_not.default, mask)
                scores = add(_ATEN.masked_fill.Scalar, scores, hidden, -math.inf)
            elif mask is not None:
                scores = add(_ATEN.add.Tensor, scores, mask)
            result = add(_ATEN.matmul.default, add(_ATEN.softmax.int, scores, -1), value)
        node.replace_all_uses_with(result)
        graph.erase_node(node)
