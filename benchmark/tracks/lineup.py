"""The line-up: whether a map tells about its own image and its own network rather than about others.

Deletion and insertion do not tell a class's fixed map from an explanation, and dissimilarity of maps rewards
noise. A line-up does neither: it is what a map has in common with the truth of its own image and network,
beyond what it has in common with those of decoys. Fixed maps, edges and noise have nothing beyond, another
network's map has less than nothing. A mixture of truth and anything else has its share of the truth.

The truth is the undefended explainer's map of the clean image. Decoys are its maps of other images of the
same class, and of the same image in other networks: one with shuffled weights, and trained ones of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.metrics.similarity import pcc

Maps = Callable[[Tensor, Tensor], Tensor]
"""Undefended maps ``[N, H, W]`` of images and labels."""


@dataclass(frozen=True)
class LineUp:
    """The truth of every case, and its decoys.

    Args:
        own: maps of the cases, ``[N, H, W]``.
        mates: for each case maps of other images of its class, ``[J, H, W]``; where there is none, of any.
        networks: maps of the cases in other networks, ``[D, N, H, W]``: that with shuffled weights first.
    """

    own: Tensor
    mates: tuple[Tensor, ...]
    networks: Tensor

    def truth(self, maps: Tensor) -> Tensor:
        """What maps ``[N, H, W]`` tell of their own image and network, ``[N]``.

        For each kind of decoy: the correlation with the truth less that with decoys (with other images the
        mean, with trained networks the largest), relative to what the truth itself has of it on average
        over cases. The least of the kinds counts: the truth has nearly 1, noise and fixed maps 0 or less on
        average. Within [-1, 1].
        """
        return self._shares(maps).amin(0).clamp(-1, 1)

    def truth_on_average(self, maps: Tensor) -> Tensor:
        """The same of the kind of decoys that is least on average over cases, ``[N]``, within [-1, 1].

        Where a case's margins are mostly noise the least of them is below 0 whatever the maps tell.
        """
        shares = self._shares(maps)
        return shares[shares.mean(1).argmin()].clamp(-1, 1)

    def _shares(self, maps: Tensor) -> Tensor:
        """Margins over each kind of decoys relative to what the truth has of them on average."""
        scale = self._margins(self.own).mean(1, keepdim=True).clamp(min=1e-6)
        return self._margins(maps) / scale

    def _margins(self, maps: Tensor) -> Tensor:
        """Margins over images, over shuffled weights, and over trained networks where there are any."""
        own = pcc(maps, self.own)
        mates = torch.stack(
            [
                pcc(one.expand_as(mates), mates).mean()
                for one, mates in zip(maps[:, None], self.mates, strict=True)
            ]
        )
        shuffled, *trained = (pcc(maps, decoys) for decoys in self.networks)
        decoys = [mates, shuffled, *([torch.stack(trained).amax(0)] if trained else [])]
        return torch.stack([own - decoy for decoy in decoys])


def line_up(
    cases: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor],
    own: Maps,
    decoys: Sequence[Maps],
) -> LineUp:
    """The truth of cases and their decoys.

    Args:
        cases: images and labels.
        others: other natural images and labels, of which the decoys of the same class are.
        own: maps of the network under attack.
        decoys: maps of other networks, that with shuffled weights first.
    """
    inputs, labels = cases
    maps = own(inputs, labels)
    pool = torch.cat([maps, own(*others)]) if len(others[0]) else maps
    classes = torch.cat([labels, others[1]])
    mates = []
    for index, label in enumerate(labels):
        there = torch.arange(len(classes), device=labels.device) != index
        same = there & (classes == label)
        mates.append(pool[same if bool(same.any()) else there])
    return LineUp(maps, tuple(mates), torch.stack([decoy(inputs, labels) for decoy in decoys]))
