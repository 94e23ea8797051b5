"""Budgets of track `saliency`: what an attack may change of an image, a class per kind.

A budget brings images into itself (``project``), says how much of it they spend (``spent``) and which of
them keep to it (``admits``), and rounds to the eight bits that are judged without leaving it. Attacks ask it,
so that an attack that steps and projects is one for every kind. Images are ``[N, C, H, W]`` in [0, 1]
throughout, clean ones of eight bits a channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.methods.formats import LEVELS, eight_bits, eight_bits_within, images_of_levels

TOLERANCE = 1e-6
"""Rounding that a budget or a range forgives, in units of the input range."""
_SLACK = 1e-4
"""Rounding that bounds forgive when images are rounded, in levels: less than `TOLERANCE`."""
_STEEP = 0.25
"""What a value changes by across an edge of a natural picture, about, one pixel further."""


class Budget(ABC):
    """What an attack may spend, of one kind."""

    kind: ClassVar[str]
    """As tasks call it, and as samples name it where it was exceeded."""
    title: ClassVar[str]
    """In words."""
    explanations: int | None
    """Explanations per sample that an attack may ask for; None for no limit. The harness counts, and stops
    an attack that asks for more."""

    @property
    @abstractmethod
    def size(self) -> float:
        """How much may be spent, in units of the input range."""

    @abstractmethod
    def scale(self, clean: Tensor) -> float:
        """Change of a value that is usual at the budget's edge: steps of an attack are shares of it.

        It depends on the size of the images alone, never on what is on them.
        """

    @abstractmethod
    def project(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """Images within the budget and within [0, 1], the nearest ones where that can be said in closed form.

        A gradient leads through it as through a clamp.
        """

    @abstractmethod
    def spent(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """How much images spend, ``[N]``, in units of the input range."""

    @abstractmethod
    def eight_bits(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """Images of eight bits within the budget, near the given ones: those that are judged."""

    def admits(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """Which images keep to the budget, but for rounding; ``bool [N]``."""
        return self.spent(inputs, clean) <= self.size + TOLERANCE

    if not TYPE_CHECKING:  # attacks of ours are checked for asking what a budget has

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(
                f"the task's budget is one of kind {self.kind} and has no {name}: "
                "case.project and case.step_size are there for every kind"
            )


class _Bounds(Budget):
    """A budget that bounds each value by itself."""

    @abstractmethod
    def bounds(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest and the highest value that each may take, within [0, 1]."""

    def project(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The nearest images within the bounds."""
        low, high = self.bounds(clean)
        return torch.maximum(torch.minimum(inputs, high), low)

    def eight_bits(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The nearest images of eight bits within the bounds."""
        low, high = (bound.double() * LEVELS for bound in self.bounds(clean))
        levels = (inputs.double() * LEVELS).round()
        return images_of_levels(levels.clamp((low - _SLACK).ceil(), (high + _SLACK).floor()), clean)


@dataclass(frozen=True)
class LInfBudget(_Bounds):
    """Every value may change by as much.

    Args:
        linf: largest change of any input value, in units of the input range [0, 1].
        explanations: per sample; None for no limit.
    """

    linf: float
    explanations: int | None = None

    kind: ClassVar[str] = "linf"
    title: ClassVar[str] = "the L-inf budget"

    @property
    def size(self) -> float:
        """The largest change."""
        return self.linf

    def scale(self, clean: Tensor) -> float:
        """The largest change: at the edge every value has it."""
        return self.linf

    def bounds(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The clean values, less and more by the largest change."""
        return (clean - self.linf).clamp(0, 1), (clean + self.linf).clamp(0, 1)

    def spent(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The largest change of a value."""
        return (inputs.to(clean) - clean).abs().flatten(1).amax(1)

    def eight_bits(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The nearest images of eight bits."""
        return eight_bits_within(inputs, clean, self.linf)


@dataclass(frozen=True)
class L2Budget(Budget):
    """The L2 norm of the change is bounded: much in few places, or little everywhere.

    Args:
        l2: largest norm of the change of an image, in units of the input range.
        explanations: per sample; None for no limit.
    """

    l2: float
    explanations: int | None = None

    kind: ClassVar[str] = "l2"
    title: ClassVar[str] = "the L2 budget"

    @property
    def size(self) -> float:
        """The largest norm."""
        return self.l2

    def scale(self, clean: Tensor) -> float:
        """What each value changes by where all change alike."""
        return float(self.l2 / clean[0].numel() ** 0.5)

    def project(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The change, shortened, then within [0, 1], which shortens it further: clean values lie there."""
        change = inputs - clean
        norm = _norms(change).clamp_min(1e-12)
        shorter = (self.l2 / norm).clamp(max=1)
        return (clean + change * shorter[:, None, None, None]).clamp(0, 1)

    def spent(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The norm of the change."""
        return _norms(inputs.double() - clean.double())

    def eight_bits(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The nearest images of eight bits; where these spend too much, all values are rounded to the clean.

        No value then changes by more than in the projected image, and neither does the norm.
        """
        inside = self.project(inputs, clean)
        near = eight_bits(inside.to(clean))
        levels = (clean.double() * LEVELS).round()
        shorter = images_of_levels(levels + ((inside.double() * LEVELS) - levels).trunc(), clean)
        kept = self.admits(near, clean)
        return torch.where(kept[:, None, None, None], near, shorter)


@dataclass(frozen=True)
class PatchBudget(_Bounds):
    """Anything within a rectangle, nothing outside of it (Subramanya et al. 2019).

    Args:
        row: first row of the rectangle, from 0 at the top.
        column: its first column, from 0 at the left.
        height: in pixels.
        width: in pixels.
        explanations: per sample; None for no limit.
    """

    row: int
    column: int
    height: int
    width: int
    explanations: int | None = None

    kind: ClassVar[str] = "patch"
    title: ClassVar[str] = "the budget outside of the patch,"

    @property
    def size(self) -> float:
        """What may change outside of the patch: nothing."""
        return 0.0

    def scale(self, clean: Tensor) -> float:
        """Half of the input range."""
        return 0.5

    def inside(self, clean: Tensor) -> Tensor:
        """1 within the patch and 0 outside, ``[1, 1, H, W]``."""
        mask = torch.zeros(1, 1, *clean.shape[-2:], dtype=clean.dtype, device=clean.device)
        mask[..., self.row : self.row + self.height, self.column : self.column + self.width] = 1
        return mask

    def bounds(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """All of the range within, the clean values outside."""
        inside = self.inside(clean)
        return clean * (1 - inside), torch.where(inside > 0, inside, clean)

    def spent(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """The largest change outside."""
        return ((inputs.to(clean) - clean) * (1 - self.inside(clean))).abs().flatten(1).amax(1)


@dataclass(frozen=True)
class FlowBudget(_Bounds):
    """Every value may become what the image shows up to so many pixels away: a flow (Xiao et al. 2018).

    The image is read between its pixels bilinearly, and beyond its border as at it. Each pixel may flow by
    itself, in each channel by itself: for grey images these are exactly the images that a flow of that size
    makes, for images in colours more. No smoothness is asked for.

    Args:
        flow: how far a pixel may move along each axis, in pixels, at most 1.
        explanations: per sample; None for no limit.
    """

    flow: float
    explanations: int | None = None

    kind: ClassVar[str] = "flow"
    title: ClassVar[str] = "the budget beyond what a flow reaches,"

    @property
    def size(self) -> float:
        """What may lie beyond what a flow reaches: nothing."""
        return 0.0

    def scale(self, clean: Tensor) -> float:
        """What a value changes by at an edge of a natural picture."""
        return _STEEP * self.flow

    def bounds(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """The smallest and largest value around each pixel.

        Between four pixels the image is bilinear, so that its extremes over a rectangle are at its corners:
        those of the reach, and those where it crosses the pixel's own row and column.
        """
        flat = clean.reshape(-1, 1, *clean.shape[-2:])
        padded = functional.pad(flat, (1, 1, 1, 1), mode="replicate")
        height, width = clean.shape[-2:]
        here = padded[:, :, 1 : 1 + height]
        rows = [_between(padded[:, :, step : step + height], here, self.flow) for step in range(3)]
        around = [
            _between(row[..., step : step + width], row[..., 1 : 1 + width], self.flow).view_as(clean)
            for row in rows
            for step in range(3)
        ]
        stacked = torch.stack(around)
        return stacked.amin(0), stacked.amax(0)

    def spent(self, inputs: Tensor, clean: Tensor) -> Tensor:
        """How far values lie outside of what a flow reaches, at most."""
        low, high = self.bounds(clean)
        return torch.maximum(low - inputs, inputs - high).clamp(min=0).flatten(1).amax(1)


def _norms(change: Tensor) -> Tensor:
    """L2 norm of each, ``[N]``."""
    return change.flatten(1).square().sum(1).sqrt()


def _between(there: Tensor, here: Tensor, share: float) -> Tensor:
    """Values a share of the way from here to there."""
    return here + share * (there - here)
