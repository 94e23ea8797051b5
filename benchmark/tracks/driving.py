"""The line-up of global explanations: whether what is shown of a unit drives it, beyond what decoys do.

A picture that explains a unit drives it. That alone is won by a picture that drives whatever it is given to,
and by one card for every network. So what counts is what the picture does to its own unit in its own network
beyond the largest of

* units: what it does to the layer's other units, and what pictures of others do to this one;
* shuffled weights: what a picture of the unit in the same network with shuffled weights does to it;
* trained networks: what their own pictures do to it, and on track `visualization` what it does to their unit.

The least of the three counts, relative to what undefended pictures have of it. One picture for everything has
0 or less, and so have noise, another unit's picture, and another network's. Pictures of decoys are the
defense's own; what its picture does elsewhere holds also where a defense knows a decoy when it sees one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.network import Network

Levels = Callable[[Tensor], Tensor]
"""What pictures ``[B, C, H, W]`` do on average to every unit of a network, ``[units]``, in standard
deviations of the unit on natural images."""

_LEAST = 0.05
"""Standard deviations that undefended pictures must have beyond decoys of a kind; else it tells nothing."""


@dataclass(frozen=True)
class Decoys:
    """What an explainer shows of something else.

    Args:
        others: pictures of other units of the network, ``[J, B, C, H, W]``; J may be 0.
        shuffled: pictures of the unit in the network with shuffled weights, ``[1, B, C, H, W]``.
        trained: pictures of the unit in other trained networks, ``[T, B, C, H, W]``; T may be 0.
    """

    others: Tensor
    shuffled: Tensor
    trained: Tensor


def margins(
    pictures: Tensor, unit: int, decoys: Decoys, levels: Levels, abroad: Sequence[Levels] = ()
) -> Tensor:
    """What pictures do to their unit beyond decoys.

    Args:
        pictures: of the unit, ``[B, C, H, W]``.
        unit: which of its layer's.
        decoys: what is shown of something else.
        levels: what pictures do in the explained network.
        abroad: what they do in trained networks, where that can be compared.

    Returns:
        ``[1 to 3]`` in standard deviations: over the layer's other units (unless it has none), over shuffled
        weights, over trained networks (if there are any).
    """

    def raised(shown: Tensor) -> Tensor:
        return levels(shown)[unit]

    here = levels(pictures)
    rest = torch.cat([here[:unit], here[unit + 1 :]])
    if len(decoys.others):
        rest = torch.cat([rest, torch.stack([raised(shown) for shown in decoys.others]).mean()[None]])
    trained = [*map(raised, decoys.trained), *(elsewhere(pictures)[unit] for elsewhere in abroad)]
    kinds = [rest, raised(decoys.shuffled[0])[None], *([torch.stack(trained)] if trained else [])]
    return torch.stack([here[unit] - kind.amax() for kind in kinds if len(kind)])


def share(found: Tensor, undefended: Tensor) -> float:
    """The least of margins relative to those of undefended pictures, within [-1, 1].

    0 where undefended pictures themselves do nothing beyond decoys of any kind.
    """
    counted = undefended >= _LEAST
    if not bool(counted.any()):
        return 0.0
    return float((found[counted] / undefended[counted]).amin().clamp(-1, 1))


def shuffled(model: Network, seed: int) -> Network:
    """The network with each tensor's values in another order."""
    generator = torch.Generator().manual_seed(seed)
    return model.with_weights(
        {name: _shuffled(value, generator) for name, value in model.module.state_dict().items()}
    )


def _shuffled(value: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(value.numel(), generator=generator).to(value.device)
    return value.flatten()[order].view_as(value)
