"""Other views of a board: the matrix as a heat map, and protection against what it costs, with the best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.boards.modes import MODES
from benchmark.publishing.site.rows import PASSES, Board, family_of, with_passes

LEVELS = 10
"""Steps of shading, of which the last is 1."""


@dataclass(frozen=True)
class Field:
    """A field of the matrix.

    Args:
        score: mean manipulation, or nan.
        low: lower end of its interval, or nan.
        high: upper end, or nan.
        level: of shading, 0 to `LEVELS`; -1 where nothing is known.
    """

    score: float
    low: float
    high: float
    level: int


@dataclass(frozen=True)
class Heat:
    """Attacks under one kind of defense, a column per attack and mode.

    Args:
        kind: ``hardenings`` or ``detectors``.
        columns: attack and mode of each, attacks in the order of their board.
        rows: each defense, and its fields; None where there is none.
    """

    kind: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[Field | None, ...]], ...]

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Each attack, and how many columns it has."""
        return list(Counter(attack for attack, _ in self.columns).items())


def heat_of(matrix: pd.DataFrame, attacks: Board, defenses: Board) -> Heat:
    """The matrix of one track's attacks under the defenses of one board."""
    names = [row.name for row in defenses.rows]
    here = matrix[matrix["defense"].isin(names)]
    modes = tuple(mode for mode in MODES if (here["mode"] == mode).any())
    fields = {
        (str(row["attack"]), str(row["defense"]), str(row["mode"])): _field(row)
        for row in here.to_dict("records")
    }
    known = {(attack, mode) for attack, _, mode in fields}
    columns = [(row.name, mode) for row in attacks.rows for mode in modes if (row.name, mode) in known]
    rows = [
        (name, tuple(fields.get((attack, name, mode)) for attack, mode in columns))
        for name in names
        if (here["defense"] == name).any()
    ]
    return Heat(defenses.name, tuple(columns), tuple(rows))


def _field(row: dict[object, object]) -> Field:
    named = {str(key): value for key, value in row.items()}
    score, low, high = (float(str(named.get(name, "nan"))) for name in ("score", "ci_low", "ci_high"))
    return Field(score, low, high, level_of(score))


def level_of(score: float) -> int:
    """The step of shading of a score; -1 where it is nan."""
    return -1 if score != score else min(LEVELS, max(0, round(score * LEVELS)))


@dataclass(frozen=True)
class Point:
    """A defense in a plot.

    Args:
        name: variant.
        family: its method.
        x: what it gives or costs.
        y: what it protects.
        control: whether it is one.
        best: whether no other method gives more for less, on both axes.
    """

    name: str
    family: str
    x: float
    y: float
    control: bool
    best: bool


@dataclass(frozen=True)
class Plot:
    """Points of a plot.

    Args:
        id: of the plot on its page.
        title: what it shows.
        x: name of the axis.
        y: name of the axis.
        costs: whether less of ``x`` is better.
        points: of all rows that have both values.
    """

    id: str
    title: str
    x: str
    y: str
    costs: bool
    points: tuple[Point, ...]

    @property
    def front(self) -> list[Point]:
        """The points that no other beats, from left to right."""
        return sorted((point for point in self.points if point.best), key=lambda point: (point.x, point.y))


def plots_of(board: Board, table: pd.DataFrame) -> list[Plot]:
    """Protection against usefulness and against cost; of detectors the score against cost."""
    table = with_passes(table)
    if board.name == "hardenings":
        wanted = [
            ("usefulness", "protection", "what clean explanations tell", "protection", False),
            (PASSES, "protection", "passes through the network per sample", "protection", True),
        ]
    else:
        wanted = [(PASSES, "score", "passes through the network per sample", "score", True)]
    found = []
    for x, y, x_title, y_title, costs in wanted:
        if {x, y} <= set(table) and len(points := _points(board, table, x, y, costs)) > 1:
            against = "cost" if costs else "usefulness"
            title = f"{y_title.capitalize()} against {against}"
            found.append(Plot(f"{board.name}-{against}", title, x_title, y_title, costs, points))
    return found


def _points(board: Board, table: pd.DataFrame, x: str, y: str, costs: bool) -> tuple[Point, ...]:
    """Points of the rows; controls are shown, and are no part of the front."""
    known = table[table[x].notna() & table[y].notna()]
    places = {str(row[board.noun]): (float(row[x]), float(row[y])) for row in known.to_dict("records")}
    rows = [row for row in board.rows if row.name in places]
    free = [places[row.name] for row in rows if not row.control]
    best = set(pareto([(-a if costs else a, b) for a, b in free]))
    front = {free[index] for index in best}
    return tuple(
        Point(
            *(row.name, family_of(row.name), *places[row.name], row.control),
            not row.control and places[row.name] in front,
        )
        for row in rows
    )


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which of the points no other beats: none is as good on both axes and better on one; more is better."""
    order = sorted(range(len(points)), key=lambda i: (-points[i][0], -points[i][1]))
    found: list[int] = []
    best, at = float("-inf"), float("inf")
    for index in order:
        x, y = points[index]
        if y > best or (y == best and x == at):
            found.append(index)
            best, at = y, x
    return sorted(found)
