"""What a hardened explainer answered an attack, in part: the judge is shown the same, or nobody can adapt."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from benchmark.explainers.base import Query

_MOST = 8
_NAMES = ("asked", "asked_labels", "asked_draws", "answered")


@dataclass(frozen=True)
class Answer:
    """A map that was asked for.

    Args:
        image: ``[C, H, W]``.
        label: class that was explained.
        draws: that were asked for; 0 for as many as there are.
        map: ``[H, W]``.
    """

    image: Tensor
    label: int
    draws: int
    map: Tensor


@dataclass
class Answers:
    """A few of the maps of the exact network that were asked for, drawn evenly: any may be among them.

    Which ones is drawn from the system's own randomness, so that no code can tell which answers are kept.

    Args:
        kept: those.
        seen: questions so far.
    """

    kept: list[Answer] = field(default_factory=list)
    seen: int = 0

    def note(self, query: Query, maps: Tensor, draws: int = 0) -> None:
        """Keeps one image of a question, in the place of another one or not at all (reservoir sampling)."""
        if not len(query.inputs) or len(maps) != len(query.inputs):
            return
        self.seen += 1
        place = len(self.kept) if len(self.kept) < _MOST else secrets.randbelow(self.seen)
        if place < _MOST:
            at = secrets.randbelow(len(query.inputs))
            image, shown = query.inputs[at].detach().clone(), maps[at].detach().clone()
            self.kept[place : place + 1] = [Answer(image, int(query.labels[at]), draws, shown)]

    def with_more(self, others: Self) -> list[Answer]:
        """These answers and others."""
        return [*self.kept, *others.kept]

    def take(self, tensors: object) -> None:
        """Keeps what another process has kept; what is none of it is left out."""
        self.kept = read(tensors) or self.kept


def tensors_of(answers: list[Answer]) -> dict[str, Tensor]:
    """Images ``asked`` about ``[K, C, H, W]``, ``asked_labels`` and ``asked_draws`` ``[K]``, ``answered``.

    The last are maps ``[K, H, W]``. There are none where nothing was asked.
    """
    if not answers:
        return {}
    numbers = (torch.tensor([one.label for one in answers]), torch.tensor([one.draws for one in answers]))
    images, maps = torch.stack([one.image for one in answers]), torch.stack([one.map for one in answers])
    return dict(zip(_NAMES, (images, *numbers, maps), strict=True))


def read(tensors: object) -> list[Answer]:
    """Answers from :func:`tensors_of`; none from what is no such thing."""
    if not isinstance(tensors, Mapping) or not set(_NAMES) <= set(tensors):
        return []
    images, labels, draws, maps = parts = tuple(tensors[name] for name in _NAMES)
    if not all(isinstance(part, Tensor) for part in parts):
        return []
    if [part.dim() for part in parts] != [4, 1, 1, 3] or len({len(part) for part in parts}) != 1:
        return []
    if images.shape[2:] != maps.shape[1:] or not images.isfinite().all() or not maps.isfinite().all():
        return []
    rows = list(zip(images, labels.tolist(), draws.tolist(), maps, strict=True))[: 2 * _MOST]
    return [Answer(image, int(label), int(count), shown) for image, label, count, shown in rows]
