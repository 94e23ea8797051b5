"""What an audit found, as numbers, as a table and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import mannwhitneyu
from torch import Tensor

from benchmark.boards.resampling import intervals
from benchmark.metrics.detection import auroc, auroc_interval

FAKED = (
    "its map resembles the target's more than its own, and more than {}noise of the same size brings about"
)
_OTHERS = "any other picture's map does or "
YOURS = "yours"
"""Name of an explainer that is a function."""
_FEW = 4
_RARE = 0.025
_NORMAL = 1.959964
ALIKE = 0.05
"""A map that resembles its own picture's by no more than this beyond the others tells nothing of it."""


@dataclass(frozen=True)
class Mean:
    """A mean over pictures, with its 95 % interval; so few pictures have none that means anything."""

    value: float
    low: float
    high: float
    count: int = _FEW

    @staticmethod
    def of(values: Sequence[float]) -> Mean:
        """The mean of one correlation per picture, whose interval does not leave [-1, 1]."""
        row = np.asarray(values, float)[None]
        low, high = (np.clip(end, -1, 1) for end in intervals(row, np.zeros(row.shape[1], int)))
        return Mean(float(row.mean()), float(low[0]), float(high[0]), row.shape[1])

    def __str__(self) -> str:
        if self.count < _FEW:
            return f"{self.value:.2f}"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Attacked:
    """An explanation under attack.

    Args:
        name: of the hardening, or ``none``.
        before: correlation of the natural map with the target's, per picture.
        after: of the forged map with the target's.
        own: of the forged map with the natural one.
        usual: the largest of other pictures' natural maps with the target's.
        chance: of the map under random noise of the budget's size with the target's, at most.
        kept: whether the prediction stays.
        agrees: correlation of natural maps with the undefended explainer's.
        tells: how much natural maps tell of their own picture, of what undefended ones do; not a number
            where those tell nothing.
        seconds: of the attack.
    """

    name: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    own: tuple[float, ...]
    usual: tuple[float, ...]
    chance: tuple[float, ...]
    kept: tuple[bool, ...]
    agrees: tuple[float, ...]
    tells: float
    seconds: float

    @property
    def faked(self) -> int:
        """Pictures of which the map is faked."""
        told = zip(self.after, self.own, self.usual, self.chance, self.kept, strict=True)
        return sum(after > max(own, usual, chance, 0) and kept for after, own, usual, chance, kept in told)


@dataclass(frozen=True)
class Detected:
    """A detector on natural and forged pictures.

    Args:
        name: of the detector.
        auroc: area under the curve.
        low, high: its 95 % interval, no narrower than Wilson's for a share among as many pictures, which the
            variance of an area never exceeds: a bootstrap of a handful of pictures claims certainty.
        by_chance: probability of such an area or a larger one where nothing is told (Mann and Whitney).
    """

    name: str
    auroc: float
    low: float
    high: float
    by_chance: float

    @staticmethod
    def of(name: str, positives: Sequence[float], negatives: Sequence[float]) -> Detected:
        """From suspicions of forged pictures, and of others."""
        area, (low, high) = auroc(positives, negatives), auroc_interval(positives, negatives)
        count = min(len(positives), len(negatives))
        least, most = _wilson(area, count)
        chance = float(mannwhitneyu(positives, negatives, alternative="greater").pvalue)
        return Detected(name, area, min(low, least), max(high, most), chance)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    squared = _NORMAL**2
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = _NORMAL * math.sqrt(share * (1 - share) / count + squared / (4 * count**2)) / (1 + squared / count)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass
class Report:
    """The findings, which grow while an audit goes on.

    Args:
        explainer: its name.
        budget: largest change of a pixel, of 1.
        count: pictures.
        notes: what was changed, or could not be asked; a sentence each.
        attacked: the undefended explainer first, then hardenings.
        detected: detectors.
        left_out: methods that could not be asked, and why.
        tensors: ``pictures``, ``forged``, ``maps``, ``forged_maps``, ``targets``.
        classes: names of the explained classes, one per picture.
        network: what is audited, in a word.
        names: of the pictures' files, one per picture, where they were files.
        looked: steps of the attack so far, of how many, while there is but a first look.
    """

    explainer: str
    budget: float
    count: int
    notes: list[str] = field(default_factory=list)
    attacked: list[Attacked] = field(default_factory=list)
    detected: list[Detected] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    network: str = ""
    names: tuple[str, ...] = ()
    looked: str = ""

    @property
    def blank(self) -> int:
        """Pictures whose undefended map is zero everywhere."""
        maps = self.tensors.get("maps")
        return 0 if maps is None else int((maps.flatten(1).abs().amax(1) == 0).sum())

    @property
    def shown(self) -> str:
        """The explainer before the word for its maps."""
        return "your explainer's" if self.explainer == YOURS else f"the {self.explainer}"

    def answer(self) -> str:
        """Whether the explanation can be faked, in a sentence; empty before it was attacked."""
        if not self.attacked:
            return ""
        plain = self.attacked[0]
        blank = self.blank
        dead = f"Maps of {blank} of {self.count} pictures are zero everywhere: they show nothing. "
        look = f"A first look, by {self.looked} steps. " if self.looked else ""
        faked = FAKED.format(_OTHERS if self.count > 2 else "")
        answer = (
            f"Within {self.budget * 255:.3g}/255 {self.shown} map of {plain.faked} of {self.count} "
            f"pictures can be faked ({faked}): correlation with the target {Mean.of(plain.before)} before, "
            f"{Mean.of(plain.after)} after; predictions stay on {sum(plain.kept)} of {self.count}."
        )
        return (dead if blank else "") + look + answer

    def sentences(self) -> list[str]:
        """The answer, what detects it and what hardens it, as far as the audit has come."""
        found = [self.answer()] if self.attacked else []
        if self.detected:
            best = max(self.detected, key=lambda one: one.auroc)
            told = "tells forged from natural pictures"
            if best.low <= 0.5 or best.by_chance * len(self.detected) > _RARE:
                told = "is not clearly better than chance"
            among = f"Of {len(self.detected)} detectors" if len(self.detected) > 1 else "The detector"
            found.append(
                f"{among} {best.name} {told} (AUROC {best.auroc:.2f} "
                f"[{best.low:.2f}, {best.high:.2f}]; an attack that knows it may do better)."
            )
        if len(self.attacked) > 1:
            plain, *hardened = self.attacked
            best_row = min(hardened, key=lambda one: (one.faked, float(np.mean(one.after))))
            fewer = best_row.faked < plain.faked
            told = f"; its maps tell {best_row.tells:.2f} of what undefended ones tell of their own picture"
            found.append(
                f"Attacked in full knowledge of it, {best_row.name} leaves {best_row.faked} of {self.count} "
                f"to be faked{'' if fewer else ', no fewer than without it'}"
                f"{told if math.isfinite(best_row.tells) else ''}."
            )
        return [*found, *self.notes]

    def rows(self) -> list[tuple[str, ...]]:
        """Of every explanation under attack its name, faked, before, after, agrees, tells and seconds."""
        return [
            (
                one.name,
                f"{one.faked} of {self.count}",
                str(Mean.of(one.before)),
                str(Mean.of(one.after)),
                f"{np.mean(one.agrees):.2f}",
                f"{one.tells:.2f}" if math.isfinite(one.tells) else "-",
                f"{one.seconds:.0f}",
            )
            for one in self.attacked
        ]

    def __str__(self) -> str:
        head = ("explanation", "faked", "target before", "target after", "agrees", "tells", "seconds")
        table = [head, *self.rows()]
        widths = [max(len(row[at]) for row in table) for at in range(len(head))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        detectors = [
            f"{one.name}: AUROC {one.auroc:.2f} [{one.low:.2f}, {one.high:.2f}]" for one in self.detected
        ]
        out = [f"{name}: {reason}" for name, reason in self.left_out.items()]
        parts = ["\n".join(self.sentences()), "\n".join(lines), "\n".join(detectors), "\n".join(out)]
        return "\n\n".join(part for part in parts if part)
