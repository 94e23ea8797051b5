"""Cells and samples of a suite as tables, and the methods that they are about: what boards are views of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmark.methods.card import CLOSED, OPEN
from benchmark.running.registry import Entry


class CellRow(NamedTuple):
    """What a case's value is made of, of a cell."""

    task: str
    seed: int
    mode: str
    status: str
    blame: str
    culprit: str
    reason: str


class SampleRow(NamedTuple):
    """What a case's value is made of, of a sample."""

    task: str
    seed: int
    sample_id: str
    mode: str
    manipulation: float


Row = TypeVar("Row")


def _rows(
    table: pd.DataFrame, fields: Sequence[str], make: Callable[[Iterable[Any]], Row]
) -> dict[tuple[str, str], list[Row]]:
    """Rows of a table by attack and defense, in its order, made of some of its columns."""
    found: dict[tuple[str, str], list[Row]] = {}
    if len(table):
        columns = (table[name].tolist() for name in fields)
        pairs = zip(table["attack"].tolist(), table["defense"].tolist(), strict=True)
        for pair, row in zip(pairs, zip(*columns, strict=True), strict=True):
            found.setdefault(pair, []).append(make(row))
    return found


@dataclass(frozen=True)
class Tables:
    """Cells and samples of a suite, and the methods that they are about."""

    cells: pd.DataFrame
    samples: pd.DataFrame
    methods: dict[str, Entry]

    def of_track(self, track: str) -> Tables:
        """The tables of one track, without columns that only others have."""
        cells = self.cells[self.cells["track"] == track]
        samples = self.samples[self.samples["track"] == track]
        others = self.samples[self.samples["track"] != track]
        if samples.empty:  # none of its cells has ended ok: of nothing all columns are empty
            return Tables(cells, samples, self.methods)
        foreign = [c for c in samples if samples[c].isna().all() and not others[c].isna().all()]
        return Tables(cells, samples.drop(columns=foreign), self.methods)

    def pair(self, attack: str, defense: str) -> tuple[list[CellRow], list[SampleRow]]:
        """Rows of an attack against a defense, of cells and of samples.

        A board asks for hundreds of pairs of a few rows each, where a frame costs more than what it holds.
        """
        key = attack, defense
        return self._cell_rows.get(key, []), self._sample_rows.get(key, [])

    @cached_property
    def _cell_rows(self) -> dict[tuple[str, str], list[CellRow]]:
        return _rows(self.cells, CellRow._fields, CellRow._make)

    @cached_property
    def _sample_rows(self) -> dict[tuple[str, str], list[SampleRow]]:
        return _rows(self.samples, SampleRow._fields, SampleRow._make)

    def one_by_one(self) -> Tables:
        """The tables of forgeries judged one by one, without those that are judged as a pool."""
        cells, samples = (table[table["mode"] != "transfer"] for table in (self.cells, self.samples))
        return Tables(cells, samples, self.methods)

    def chosen(self, kind: str) -> list[str]:
        """Variants of a kind that have cells, ranked ones first."""
        column = "attack" if kind == "attack" else "defense"
        names = [name for name in self.cells[column].unique() if self.methods[name].kind == kind]
        return sorted(names, key=lambda name: (self.methods[name].method.control, name))

    def closed(self, column: str) -> Tables:
        """The tables of closed methods in a column, ``attack`` or ``defense``."""
        cells, samples = (
            table[self.divisions(table[column]) == CLOSED] for table in (self.cells, self.samples)
        )
        return Tables(cells, samples, self.methods)

    def divisions(self, names: Iterable[str]) -> npt.NDArray[np.str_]:
        """The variants' divisions."""
        return np.array([self.methods[name].division for name in names], str)

    def with_division(self, board: pd.DataFrame) -> pd.DataFrame:
        """The board with a column ``division``: ``open`` where any method that a row names is."""
        naming = [name for name in ("attack", "hardening", "detector", "repair", "defense") if name in board]
        opened = [(self.divisions(board[name]) == OPEN).tolist() for name in naming]
        return board.assign(division=[OPEN if any(row) else CLOSED for row in zip(*opened, strict=True)])

    def families(self, names: Iterable[str]) -> list[str]:
        """The methods that the variants are of."""
        return [self.methods[name].name for name in names]

    def tries(self, names: Iterable[str]) -> list[int]:
        """How many of the variants are of each one's method; 0 for controls."""
        listed = list(names)
        counted = Counter(self.families(listed))
        controls = self.controls(listed)
        return [
            0 if own else counted[family] for own, family in zip(controls, self.families(listed), strict=True)
        ]

    def controls(self, names: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Which of the variants are controls."""
        return np.array([self.methods[name].method.control for name in names], bool)
