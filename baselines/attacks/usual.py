"""What suspicions an attack has to stay below: those that a detector has of what nobody changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_ORDINARY = (1e-3, 1e3)
_ROUNDING = 1e-13
"""Of a value, in double precision."""


@dataclass(frozen=True)
class Usual:
    """Suspicions of clean samples.

    Args:
        middle: that nobody would notice.
        spread: from there to what may be noticed.
        alike: whether all have the same suspicion, so that there is no unit to tell.
    """

    middle: float
    spread: float
    alike: bool = False

    @staticmethod
    def of(suspicions: Tensor, share: float = 1.0) -> Usual:
        """Of suspicions ``[N]`` of clean samples: their median, and how far above it a share of them reaches.

        What is not finite does not count; of nothing the middle is 0 and the spread 1.
        """
        finite = suspicions.double()[suspicions.isfinite()]
        if not len(finite):
            return Usual(0.0, 1.0)
        middle = float(finite.median())
        spread = float(finite.quantile(share)) - middle
        alike = spread <= _ROUNDING * abs(middle)
        return Usual(middle, 1e-6 if alike else spread, alike)

    @property
    def unit(self) -> float:
        """What to divide suspicions by before a weight that was chosen for usual ones; 1 for those.

        A detector may speak in any unit. In a tiny one it would not be heard beside another loss, and in a
        huge one nothing else would be.
        """
        least, most = _ORDINARY
        return 1.0 if self.alike or least <= self.spread <= most else self.spread

    def excess(self, suspicion: float) -> float:
        """How far a suspicion lies above what nobody would notice; infinite where it is not finite."""
        return max(0.0, (suspicion - self.middle) / self.spread) if math.isfinite(suspicion) else math.inf

    def excesses(self, suspicions: Tensor) -> Tensor:
        """The same of every one of suspicions ``[N]``."""
        above = ((suspicions - self.middle) / self.spread).clamp(min=0)
        return torch.where(suspicions.isfinite(), above, math.inf)
