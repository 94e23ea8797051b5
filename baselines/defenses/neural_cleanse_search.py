"""The smallest masks that send images to each class: the search that Neural Cleanse does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.api import BackdoorAudit, Network, at_once

_BETAS = (0.5, 0.9)
_TINY = 1e-8
_ROWS = {"cpu": 160, "cuda": 8192}
"""Images that go through the network at once while masks are verified."""


class SearchSettings(Protocol):
    """What is to be set; the detector says what each is."""

    threshold: float
    learning_rate: float
    initial_cost: float
    multiplier: float
    patience: int
    batch: int
    round_steps: int
    stale_rounds: int
    shrinkage: float
    verified: int


@dataclass(frozen=True)
class Reversed:
    """Triggers that were found, one per class.

    Args:
        norm: L1 norms of the masks ``[K]``.
        mask: ``[K, 1, H, W]``; zero where none succeeded.
        pattern: ``[K, C, H, W]``.
    """

    norm: Tensor
    mask: Tensor
    pattern: Tensor


class Search:
    """The optimization of all classes at once; classes never interact, and those that are done drop out."""

    def __init__(self, settings: SearchSettings, audit: BackdoorAudit) -> None:
        self.settings, self.model = settings, audit.model
        self.data, self.labels = audit.data, audit.labels
        self.generator = torch.Generator().manual_seed(audit.seed)
        self.classes = torch.tensor(audit.classes, device=audit.data.device)
        order = torch.randperm(len(audit.data), generator=self.generator).to(audit.data.device)
        verified = min(settings.verified, len(order) // 2)
        self.held, self.used = order[:verified], order[verified:]
        count, (channels, height, width) = len(audit.classes), audit.size
        # Mask and pattern start uniform in [0, 1], as published; the mask is the first channel.
        start = torch.rand(
            count, 1 + channels, height, width, generator=self.generator, dtype=torch.float32
        ).to(audit.data)
        self.values = torch.atanh((start - 0.5) * (2 - 1e-3))
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.steps = 0
        self.active = torch.arange(count, device=audit.data.device)
        self.cost = torch.full((count,), settings.initial_cost).to(audit.data)
        self.succeeded, self.failed, self.stale = (torch.zeros_like(self.cost) for _ in range(3))
        self.kept = torch.zeros_like(self.values)
        self.smallest = torch.full_like(self.cost, torch.inf)
        self.largest = _norm(_squashed(self.values)).max()

    def found(self) -> Reversed:
        """What was kept.

        A class that no mask sends images to gets the largest norm of the whole search: it is what a class
        without any shortcut looks like, and the opposite of suspicious.
        """
        norm = torch.where(self.smallest.isfinite(), self.smallest, self.largest)
        return Reversed(norm, self.kept[:, :1], self.kept[:, 1:])

    def round(self) -> None:
        """Some steps, then a look at what they reached."""
        hits = torch.stack([self._step() for _ in range(self.settings.round_steps)]).sum(0)
        norms = _norm(_squashed(self.values[self.active]))
        self.largest = torch.maximum(self.largest, norms.max())
        succeeded = _share(hits) >= self.settings.threshold
        smaller = norms < self.settings.shrinkage * self.smallest[self.active]
        # Verifying costs as much as a step: only what would be kept is.
        candidates = (succeeded & smaller).nonzero()[:, 0]
        if len(candidates):
            passed = self._verified(self.active[candidates])
            succeeded[candidates] = passed
            better = candidates[passed]
            kept = self.active[better]
            self.smallest[kept], self.kept[kept] = norms[better], _squashed(self.values[kept])
            self.stale[kept] = -1
        self._adapt(succeeded)
        self._retire()

    def _step(self) -> Tensor:
        """One step of Adam; hits and images that count, ``[A, 2]``."""
        active = self.active
        drawn = torch.randint(len(self.used), (self.settings.batch,), generator=self.generator)
        chosen = self.used[drawn.to(self.used.device)]
        counted = self._counted(active, chosen)
        with torch.enable_grad():
            values = self.values[active].requires_grad_()
            squashed = _squashed(values)
            logits = self.model(_stamped(self.data[chosen], squashed).flatten(0, 1)).unflatten(
                0, (len(active), -1)
            )
            targets = self.classes[active, None].expand(logits.shape[:2])
            loss = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
            loss = (loss * counted).sum(1) / counted.sum(1).clamp_min(1) + self.cost[active] * _norm(squashed)
            (gradient,) = torch.autograd.grad(loss.sum(), values)
        # A manipulated network can overflow; masks that do stay where they are.
        self._adam(active, gradient.nan_to_num(0.0, 0.0, 0.0))
        return torch.stack([((logits.argmax(2) == targets) * counted).sum(1), counted.sum(1)], 1)

    def _adam(self, active: Tensor, gradient: Tensor) -> None:
        self.steps += 1
        first = _BETAS[0] * self.first[active] + (1 - _BETAS[0]) * gradient
        second = _BETAS[1] * self.second[active] + (1 - _BETAS[1]) * gradient.square()
        self.first[active], self.second[active] = first, second
        first = first / (1 - _BETAS[0] ** self.steps)
        deviation = (second / (1 - _BETAS[1] ** self.steps)).sqrt() + _TINY
        self.values[active] -= self.settings.learning_rate * first / deviation

    def _counted(self, active: Tensor, chosen: Tensor) -> Tensor:
        """1 for images of other classes, ``[A, N]``."""
        return (self.labels[chosen] != self.classes[active, None]).to(self.values)

    @torch.no_grad()
    def _verified(self, active: Tensor) -> Tensor:
        """Whether masks succeed on the images that they were not optimized on, ``[A]``."""
        squashed, counted = _squashed(self.values[active]), self._counted(active, self.held)
        hits = []
        for images in self.data[self.held].split(max(1, _rows(self.model, self.data) // len(active))):
            reached = self.model(_stamped(images, squashed).flatten(0, 1)).argmax(1)
            hits.append(reached.unflatten(0, (len(active), -1)) == self.classes[active, None])
        if not hits:
            return torch.ones(len(active), dtype=torch.bool, device=active.device)
        sums = torch.stack([(torch.cat(hits, 1) * counted).sum(1), counted.sum(1)], 1)
        return _share(sums) >= self.settings.threshold

    def _adapt(self, succeeded: Tensor) -> None:
        """Makes small masks more important where success is steady, less where failure is."""
        active, patience, multiplier = self.active, self.settings.patience, self.settings.multiplier
        self.succeeded[active] = (self.succeeded[active] + 1) * succeeded
        self.failed[active] = (self.failed[active] + 1) * ~succeeded
        rise, fall = self.succeeded >= patience, self.failed >= patience
        self.cost = torch.where(rise, self.cost * multiplier, self.cost)
        self.cost = torch.where(fall, self.cost / multiplier**1.5, self.cost)
        self.succeeded[rise], self.failed[fall] = 0, 0

    def _retire(self) -> None:
        """Lets classes drop out whose mask no longer shrinks; one that has none yet goes on."""
        active = self.active
        self.stale[active] += self.smallest[active].isfinite()
        self.active = active[self.stale[active] < self.settings.stale_rounds]


def _squashed(values: Tensor) -> Tensor:
    """Masks and patterns in [0, 1] of free values."""
    return (values.tanh() + 1) / 2


def _stamped(images: Tensor, squashed: Tensor) -> Tensor:
    """Images ``[N, C, H, W]`` with each of A masks and patterns, ``[A, N, C, H, W]``."""
    mask, pattern = squashed[:, None, :1], squashed[:, None, 1:]
    return (1 - mask) * images + mask * pattern


def _norm(squashed: Tensor) -> Tensor:
    """L1 norms ``[A]`` of the masks."""
    return squashed[:, 0].flatten(1).sum(1)


def _share(sums: Tensor) -> Tensor:
    """Hits per image that counts; 0 where none does."""
    return sums[:, 0] / sums[:, 1].clamp_min(1)


def _rows(model: Network, images: Tensor) -> int:
    device = model.mean.device
    return at_once(images.shape[1:], device, _ROWS.get(device.type, _ROWS["cpu"]))
