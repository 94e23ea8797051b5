"""Whether the gradient that comes with maps is theirs: compared with how maps change along a direction.

What a stranger's function returns may carry a part of a graph: captum's gradients times inputs have one
through the product with the input and none through the network. An attack that follows such a gradient looks
stopped where it was misled.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor

from benchmark.explainers import Explainer, Query
from benchmark.network import Network, Softplus

_SMOOTH = Softplus(10.0)
"""Of the network that is asked: with kinks, most maps change nowhere but on them."""
_PICTURES, _DIRECTIONS = 2, 4
_STEPS = {torch.double: (1e-5, 1e-6), torch.float: (4e-3, 2e-3)}
"""Of central differences, in units of the input range: the first two, and which is taken is asked of both."""
_SURE = {torch.double: 0.02, torch.float: 0.2}
"""By what share differences of two steps may be apart, and still say how maps change."""
_APART = 0.1
"""By what share of how maps change their gradient may be off, beside what differences leave open."""
_TINY = 1e-12


def gradient_off(explainer: Explainer, model: Network, query: Query) -> float | None:
    """By what share of how maps change, along random directions, their gradient says something else.

    In double precision where network and explainer can be asked in it.

    Args:
        explainer: whose maps carry a gradient.
        model: the network, in single precision.
        query: pictures, of which the first few are looked at.

    Returns:
        The largest share among the pictures, 0 where it is no more than rounding; None where it cannot be
        told, as of a network whose activations stay kinked.
    """
    inputs, labels = query.inputs[:_PICTURES].detach(), query.labels[:_PICTURES]
    for kind in (torch.double, torch.float):
        try:
            asked = model if kind == torch.float else copy.deepcopy(model).double()
            found = _compared(explainer.smoothed(_SMOOTH), asked, Query(inputs.to(kind), labels, query.seed))
        except Exception:  # whatever a stranger's code makes of another precision
            continue
        if found is not None:
            return found
    return None


def _compared(explainer: Explainer, model: Network, query: Query) -> float | None:
    """As :func:`gradient_off`, in the precision of the query's pictures."""
    kind = query.inputs.dtype
    generator = torch.Generator().manual_seed(0)
    maps = explainer.explain(model, query)
    weights = torch.rand(maps.shape, generator=generator, dtype=torch.double).to(maps)
    shape = (_DIRECTIONS, *query.inputs.shape)
    directions = torch.randn(shape, generator=generator, dtype=torch.double).to(query.inputs)

    def value(inputs: Tensor) -> Tensor:
        """One number of each picture's map, ``[N]``."""
        made: Tensor = explainer.explain(model, Query(inputs, query.labels, query.seed))
        return (made * weights).flatten(1).sum(1)

    said = (_gradient(value, query.inputs) * directions).flatten(2).sum(2)
    with torch.no_grad():
        rough, fine = (_rises(value, query.inputs, directions, step) for step in _STEPS[kind])
    off = []
    for gradient, first, second in zip(said.T, rough.T, fine.T, strict=True):
        size = float(second.norm())
        if max(size, float(gradient.norm())) < _TINY:
            continue  # a map that changes nowhere
        if float((first - second).norm()) > _SURE[kind] * size:
            return None
        off.append(float((gradient - second).norm()) / size if size else math.inf)
    if not off:
        return None
    return max(off) if max(off) > _APART + _SURE[kind] else 0.0


def _gradient(value: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    given = inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(given).sum(), given)
    return found


def _rises(value: Callable[[Tensor], Tensor], inputs: Tensor, directions: Tensor, step: float) -> Tensor:
    """Central differences along directions ``[D, N, C, H, W]``, ``[D, N]``."""
    rows = [(value(inputs + step * one) - value(inputs - step * one)) / (2 * step) for one in directions]
    return torch.stack(rows)
