"""What no graph is made of, or one of another meaning, said so that a graph of it can be made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from benchmark.network.nodes import call_name

_ATEN = torch.ops.aten


@contextlib.contextmanager
def plain_normalize(module: nn.Module) -> Iterator[None]:
    """Within it torchvision's ``Normalize`` looks at no value, which breaks graphs."""
    parts = [
        part
        for part in module.modules()
        if type(part).__name__ == "Normalize"
        and type(part).__module__.startswith("torchvision.transforms")
        and "forward" not in vars(part)
    ]
    for part in parts:
        vars(part)["forward"] = _Plain(part)
    try:
        yield
    finally:
        for part in parts:
            del vars(part)["forward"]


class _Plain:
    """What a ``Normalize`` computes of a tensor of images."""

    def __init__(self, part: Any) -> None:
        self.mean, self.deviation = part.mean, part.std

    def __call__(self, tensor: Tensor) -> Tensor:
        """Shifted and scaled images ``[..., C, H, W]``."""
        mean, deviation = (
            torch.as_tensor(values, dtype=tensor.dtype, device=tensor.device).view(-1, 1, 1)
            for values in (self.mean, self.deviation)
        )
        return (tensor - mean) / deviation


def keep_batch(graph: fx.Graph) -> None:
    """Lets a squeeze of whatever side is 1 leave the batch alone, which may be 1 as well."""
    for node in graph.nodes:
        if node.op != "call_function" or call_name(node) != "squeeze" or len(node.args) != 1:
            continue
        given = node.args[0]
        assert isinstance(given, fx.Node)
        value = given.meta["val"]
        node.target = _ATEN.squeeze.dims
        node.args = (given, [side for side, length in enumerate(value.shape) if _is_one(length)])


def part_sums(graph: fx.Graph) -> None:
    """Makes a sum and a product of every ``addcmul``: ``a + value * b * c``."""
    for node in list(graph.nodes):
        if node.op != "call_function" or call_name(node) != "addcmul":
            continue
        added, first, second = node.args
        assert isinstance(first, fx.Node) and isinstance(second, fx.Node)
        with graph.inserting_before(node):
            product = graph.call_function(_ATEN.mul.Tensor, (first, second))
            total = graph.call_function(
                _ATEN.add.Tensor, (added, product), {"alpha": node.kwargs.get("value", 1)}
            )
        product.meta = {**node.meta, "val": first.meta["val"] * second.meta["val"]}
        total.meta = dict(node.meta)
        node.replace_all_uses_with(total)
        graph.erase_node(node)


def drop_copies(graph: fx.Graph) -> None:
    """Takes what is written over a whole tensor for the result, since torch's ``copy`` has no derivative."""
    for node in graph.nodes:
        if node.op != "call_function" or call_name(node) != "copy" or len(node.args) != 2:
            continue
        over, written = node.args
        if not isinstance(over, fx.Node) or not isinstance(written, fx.Node):
            continue
        first, second = over.meta["val"], written.meta["val"]
        if first.dtype == second.dtype and tuple(map(str, first.shape)) == tuple(map(str, second.shape)):
            node.replace_all_uses_with(written)


def _is_one(length: int | torch.SymInt) -> bool:
    return isinstance(length, int) and length == 1
