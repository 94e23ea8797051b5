"""Which calls of a captured graph are linear, products or rearrangements, by what their arguments are."""

from __future__ import annotations

from typing import Any

from torch import fx

from benchmark.network.calls import AT_CONSTANTS, KINDS, OF_ONE
from benchmark.network.captured import Linear, MatMul, Product, Rearrange, Softmax
from benchmark.network.operations import Other, Wrapped
from benchmark.network.programs import Program


def kind_of(node: fx.Node, name: str, terms: list[fx.Node], program: Program) -> type[Wrapped]:
    """What a call is to explainers; nothing in particular where no rule of theirs would hold.

    Args:
        node: the call.
        name: what it calls.
        terms: those of its arguments that are values of the walk.
        program: tells what else follows from the images.
    """
    kind = KINDS.get(name, Other)
    if kind is Rearrange and any(program.depends(part) for part in node.all_input_nodes if part not in terms):
        return Other  # what is moved, or masked, follows from the image
    if name == "instance_norm" and not node.args[5]:
        return Other  # by running statistics
    if kind is Softmax and node.args[1] not in (-1, len(node.meta["val"].shape) - 1):
        return Other  # of another side, which no rule here goes along
    if (name == "index_put" and any(node.args[3:])) or (name == "scatter" and len(node.args) > 4):
        return Other  # numbers of one place are added up, or multiplied
    if name in OF_ONE:
        rest = [part for part in node.all_input_nodes if part not in terms]
        return Linear if len(terms) == 1 and not any(map(program.depends, rest)) else Other
    if name in AT_CONSTANTS:
        rest = [part for part in node.all_input_nodes if part not in terms]
        moves = len(terms) == 1 and (terms[0] is node.args[0] or "grid" not in name)
        return Linear if moves and not any(map(program.depends, rest)) else Other
    if name == "mul" or kind is MatMul:
        if len(terms) == 2:
            return Product if name == "mul" else MatMul
        given: Any = node.args
        pair = [*given[1]] if name == "einsum" else [*given[:2]]  # einsum has its terms in a list
        alone = sum(part is terms[0] for part in pair) == 1
        others = [part for part in pair if part is not terms[0]]
        return Linear if alone and not any(map(program.depends, others)) else Other
    if name in ("add", "sub", "rsub", "div"):
        others = [part for part in node.args[:2] if part is not terms[0]]
        twice = not others and name == "add"  # x + x, which is linear; x / x is not, and x - x is nothing
        constant = bool(others) and not any(map(program.depends, others))
        divides = name != "div" or (terms == [node.args[0]] and node.kwargs.get("rounding_mode") is None)
        return Linear if (constant and divides) or twice else Other
    return Linear if name == "neg" else kind
