"""What a hardened explainer answered an attack, in part: the judge is shown the same, or nobody can adapt."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn

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
    Questions about another network than the first one's are left out: an attack may ask them, and what is
    told of it no judge is shown.

    Args:
        kept: those.
        seen: questions so far.
        weights: digest of the weights of the network that is asked about.
    """

    kept: list[Answer] = field(default_factory=list)
    seen: int = 0
    weights: bytes | None = None

    def about(self, model: nn.Module) -> Self:
        """Sets the network that is asked about."""
        self.weights = _digest(model)
        return self

    def note(self, query: Query, maps: Tensor, draws: int = 0, model: nn.Module | None = None) -> None:
        """Keeps one image of a question, in the place of another one or not at all (reservoir sampling)."""
        if not len(query.inputs) or len(maps) != len(query.inputs):
            return
        if not query.inputs.isfinite().all():
            return  # of such there is no map; of maps what is no number counts: no judge is shown it
        self.seen += 1
        place = len(self.kept) if len(self.kept) < _MOST else secrets.randbelow(self.seen)
        if place < _MOST and (model is None or self.weights in (None, _digest(model))):
            at = secrets.randbelow(len(query.inputs))
            image, shown = query.inputs[at].detach().clone(), maps[at].detach().clone()
            self.kept[place : place + 1] = [Answer(image, int(query.labels[at]), draws, shown)]

    def with_more(self, others: Self) -> list[Answer]:
        """These answers and others."""
        return [*self.kept, *others.kept]


def _digest(model: nn.Module) -> bytes:
    """Of all weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


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
    if images.shape[2:] != maps.shape[1:]:
        return []
    rows = list(zip(images, labels.tolist(), draws.tolist(), maps, strict=True))[: 2 * _MOST]
    return [Answer(image, int(label), int(count), shown) for image, label, count, shown in rows]
