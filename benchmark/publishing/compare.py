"""A submission's place on a published board is the board of everyone's published samples and its own.

Nothing runs here and nothing of others is measured anew: tables in, places out. Differences are paired, case
by case, as :mod:`benchmark.boards.resampling` draws cases.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmark.boards.board import attack_board, detector_board, hardening_board, repair_board
from benchmark.boards.resampling import TOLERANCE, intervals, pairwise_p_values
from benchmark.boards.standings import FLOOR, TRIED
from benchmark.boards.statistics import LEVEL, corrected_p_values, holm, scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import CASE, CLUSTER, Floats, case_values
from benchmark.methods.card import OPEN
from benchmark.publishing.reading import read_cells
from benchmark.running.cells import Cell
from benchmark.running.registry import Entry

BETTER, WORSE, TIED = "better", "worse", "cannot be told apart"
_REACH = 2
"""Neighbours shown on either side."""


@dataclass(frozen=True)
class Difference:
    """The submission's score less another's, on the same cases.

    Args:
        mean: of the differences, as scores are means.
        low: lower end of their 95 % paired bootstrap interval.
        high: upper end.
        verdict: ``better``, ``worse`` or ``cannot be told apart``, corrected for the number of comparisons.
    """

    mean: float
    low: float
    high: float
    verdict: str


@dataclass(frozen=True)
class Neighbour:
    """A row of the board beside the submission's.

    Args:
        name: variant.
        role: ``leader``, ``above``, ``below``, ``control``, or the leader of the other division.
        row: its row of the board.
        difference: the submission's score less its.
    """

    name: str
    role: str
    row: pd.Series
    difference: Difference


@dataclass(frozen=True)
class Place:
    """Where a variant would stand on one board.

    Args:
        track: of the board.
        kind: one of :data:`benchmark.methods.variants.KINDS`.
        variant: whose place it is.
        row: its row of the board, or None where it has none.
        ranked: ranked methods of its division, itself and the control among them that takes a rank; 0 where
            it is not ranked.
        neighbours: best first, controls last.
    """

    track: str
    kind: str
    variant: str
    row: pd.Series | None
    ranked: int
    neighbours: tuple[Neighbour, ...]

    @property
    def tried(self) -> bool:
        """Whether another variant of its method is the better one, and has the rank."""
        return self.row is not None and str(self.row["note"]).startswith(TRIED)


@dataclass(frozen=True)
class Lowered:
    """A published defense whose score the submission's attacks lower.

    Args:
        track: of the board.
        kind: ``hardening``, ``detector`` or ``repair``.
        name: variant.
        before: its published score.
        after: its score with the submission, nan where it could not be ranked any more.
        drop: how far it falls, with the ends of the 95 % paired interval.
    """

    track: str
    kind: str
    name: str
    before: float
    after: float
    drop: tuple[float, float, float]


def own_cells(
    cells: Iterable[Cell], published: pd.DataFrame, mine: set[str], methods: Mapping[str, Entry]
) -> list[Cell]:
    """The submission's cells that its place and that of others depend on.

    An attack meets every published defense. A defense meets every published closed attack, a hardening the
    controls as well, which are bound under it. Only tasks and seeds that are published count.

    Args:
        cells: everything that can be planned.
        published: rows of ``cells.csv`` that the submission is compared with.
        mine: variants of the submission.
        methods: the project's methods, by variant.
    """
    attacks, defenses = {*published["attack"]} | mine, {*published["defense"]} | mine
    places = set(zip(published["task"], published["seed"], strict=True))

    def needed(cell: Cell) -> bool:
        attack, defense = cell.attack.variant, cell.defense.variant
        if (cell.task.id, cell.seed) not in places or not {attack, defense} & mine:
            return False
        if attack not in attacks or defense not in defenses:
            return False
        if attack in mine:
            return True
        spare = methods[defense].kind == "detector" and methods[attack].method.control
        return not spare and methods[attack].division != OPEN

    return [cell for cell in cells if needed(cell)]


def without(tables: Tables, variants: set[str]) -> Tables:
    """The tables without all that some variants take part in."""

    def left(table: pd.DataFrame) -> pd.DataFrame:
        kept: pd.DataFrame = table[~(table["attack"].isin(variants) | table["defense"].isin(variants))]
        return kept

    return Tables(left(tables.cells), left(tables.samples), tables.methods)


def joined(others: Tables, own: Tables) -> Tables:
    """Published tables with those of the submission, whose cells are read as the published ones are."""
    own_cells = read_cells(io.StringIO(own.cells.to_csv(index=False)))
    cells = pd.concat([others.cells, own_cells], ignore_index=True)
    samples = others.samples
    if not own.samples.empty:
        samples = pd.concat([samples, own.samples.dropna(axis=1, how="all")], ignore_index=True)
    return Tables(cells, samples, others.methods)


def places(tables: Tables, variant: str) -> Iterator[Place]:
    """Where a variant stands, track by track."""
    kind = tables.methods[variant].kind
    rows = tables.cells[tables.cells["attack" if kind == "attack" else "defense"] == variant]
    for track in rows["track"].unique():
        yield _place(tables.of_track(track), track, kind, variant)


def _place(tables: Tables, track: str, kind: str, variant: str) -> Place:
    rows = _rows(_board(tables, kind), kind)
    if variant not in rows or pd.isna(rows[variant]["rank"]):
        return Place(track, kind, variant, rows.get(variant), 0, ())
    division = tables.methods[variant].division
    ranked = [name for name, row in rows.items() if not pd.isna(row["rank"])]
    kinds = {name: row.get("place", "") for name, row in rows.items()}
    alike = [name for name in ranked if kinds[name] == kinds[variant]]
    own = [name for name in alike if tables.methods[name].division == division]
    foreign = [name for name in alike if name not in own][:1]
    controls = [name for name, row in rows.items() if row["control"] and not pd.isna(row["score"])]
    names, values, case = case_values(tables, kind)
    by_name = pd.DataFrame(values, index=names)
    place = own.index(variant)
    shown = [name for name in own if name == own[0] or abs(own.index(name) - place) <= _REACH]
    floor = [name for name in controls if name == FLOOR.get(kind)]
    tries = [*(int(rows[name]["tries"]) for name in own), *(1 for _ in floor)]
    found = _differences(by_name.loc[[*own, *floor]].to_numpy(), case, place, tries)
    apart = [variant, *foreign, *(name for name in controls if name not in floor)]
    found_apart = _against(by_name.loc[apart].to_numpy(), case, tries[place])
    neighbours = [
        Neighbour(name, _role(own.index(name), place), rows[name], found[own.index(name)])
        for name in shown
        if name != variant
    ]
    verdicts = [*zip(floor, found[len(own) :], strict=True), *zip(apart[1:], found_apart, strict=True)]
    for name, difference in verdicts:
        role = "control" if name in controls else f"leader of {tables.methods[name].division}"
        neighbours.append(Neighbour(name, role, rows[name], difference))
    return Place(track, kind, variant, rows[variant], len(own) + len(floor), tuple(neighbours))


def _board(tables: Tables, kind: str) -> pd.DataFrame:
    if kind == "attack":
        return attack_board(tables, hardening_board(tables))
    boards = {"hardening": hardening_board, "detector": detector_board, "repair": repair_board}
    return boards[kind](tables)


def _rows(board: pd.DataFrame, kind: str) -> dict[str, pd.Series]:
    """The board's rows by variant, in their order."""
    return {str(row[kind]): row for _, row in board.iterrows()}


def _role(at: int, place: int) -> str:
    if at == 0:
        return "leader"
    return "above" if at < place else "below"


def _differences(values: Floats, case: pd.DataFrame, place: int, tries: list[int]) -> list[Difference]:
    """One method against all that take a rank; corrected over all their pairs and for tries, as ranks are."""
    p_values = corrected_p_values(values, case["task"].to_numpy(), case[CLUSTER].to_numpy(), tries)
    return [_difference(values[place] - other, case, p_values[place, at]) for at, other in enumerate(values)]


def _against(values: Floats, case: pd.DataFrame, tries: int) -> list[Difference]:
    """The first method against each other one; corrected over these comparisons, and for its own tries."""
    task, cluster = case["task"].to_numpy(), case[CLUSTER].to_numpy()
    raw = [pairwise_p_values(np.stack([values[0], other]), task, cluster)[0, 1] for other in values[1:]]
    better = [scores((values[0] - other)[None], task)[0] > 0 for other in values[1:]]
    raw = [min(1.0, p * (tries if won else 1)) for p, won in zip(raw, better, strict=True)]
    return [
        _difference(values[0] - other, case, p_value)
        for other, p_value in zip(values[1:], holm(raw), strict=True)
    ]


def _difference(values: Floats, case: pd.DataFrame, p_value: float) -> Difference:
    mean, low, high = _mean_with_interval(values, case)
    if p_value > 1 - LEVEL or abs(mean) <= TOLERANCE:
        return Difference(mean, low, high, TIED)
    return Difference(mean, low, high, BETTER if mean > 0 else WORSE)


def _mean_with_interval(values: Floats, case: pd.DataFrame) -> tuple[float, float, float]:
    """Score of the values of the cases, and the ends of its interval."""
    task = case["task"].to_numpy()
    low, high = intervals(values[None], task, case[CLUSTER].to_numpy())
    return float(scores(values[None], task)[0]), float(low[0]), float(high[0])


def lowered(before: Tables, after: Tables) -> list[Lowered]:
    """Ranked defenses whose score is lower in one table than in another of the same cases; most first."""
    found: list[Lowered] = []
    for track in before.cells["track"].unique():
        for kind in ("hardening", "detector", "repair"):
            found += _lowered(before.of_track(track), after.of_track(track), track, kind)
    return sorted(found, key=lambda one: (one.track, one.kind, -np.nan_to_num(one.drop[0], nan=np.inf)))


def _lowered(before: Tables, after: Tables, track: str, kind: str) -> Iterator[Lowered]:
    names, values, case = case_values(before, kind)
    now_names, now_values, now_case = case_values(after, kind)
    place = pd.MultiIndex.from_frame(now_case[CASE])
    now = pd.DataFrame(now_values, index=now_names, columns=place)
    now = now.reindex(columns=pd.MultiIndex.from_frame(case[CASE]))
    task = case["task"].to_numpy()
    for name, row in zip(names, values, strict=True):
        if before.methods[name].method.control or name not in now.index or not np.isfinite(row).all():
            continue
        later, score = now.loc[name].to_numpy(float), float(scores(row[None], task)[0])
        if not np.isfinite(later).all():
            yield Lowered(track, kind, name, score, np.nan, (np.nan, np.nan, np.nan))
            continue
        drop = _mean_with_interval(row - later, case)
        if drop[0] > TOLERANCE:
            yield Lowered(track, kind, name, score, float(scores(later[None], task)[0]), drop)
