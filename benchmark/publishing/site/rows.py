"""Rows of a board as a page shows them: in which order, what folds, and what cannot be told apart."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from benchmark.boards.standings import FLOOR, TRIED
from benchmark.publishing.site.reading import RANKED
from benchmark.publishing.site.texts import number

PASSES = "passes"
"""Column made here: passes through the network per sample, forwards and backwards."""


@dataclass(frozen=True)
class Column:
    """A column of a board that pages show.

    Args:
        name: in the file.
        title: above it.
        says: what it is, in a line.
        digits: behind the point.
    """

    name: str
    title: str
    says: str
    digits: int = 2


_PASSES = Column(PASSES, "passes", "forward and backward passes through the network per sample", 0)
_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "attacks": (
        Column("score_best_defense", "defended", "the same manipulation under the best hardening"),
        Column("pcc_target", "likeness", "correlation of the forged map with the target"),
        Column("truth", "told", "what the forged explanation still tells of its own image"),
        Column("attack_success", "success", "share of images that the backdoor turns to its class"),
        Column("accuracy_drop", "accuracy lost", "accuracy that the forged network lost", 3),
        _PASSES,
    ),
    "hardenings": (
        Column("protection", "protection", "1 less the worst manipulation on each case"),
        Column("usefulness", "clean", "what explanations of clean cases tell (none attacked)"),
        Column("truth", "forged", "what explanations of forgeries tell, in the worst case"),
        Column("manipulation_oblivious", "oblivious", "manipulation by forgeries made against no defense"),
        Column("manipulation_adaptive", "adaptive", "manipulation by forgeries made against this defense"),
        Column("manipulation_transfer", "transfer", "the worst of what was made against other defenses"),
        _PASSES,
    ),
    "detectors": (
        Column("detection_rate", "detected", "share of oblivious forgeries that are detected"),
        Column("detection_rate_adaptive", "adaptive", "share of adaptive forgeries that are detected"),
        Column("auroc", "AUROC", "how well suspicions tell oblivious forgeries from harmless images"),
        Column("false_positive_rate", "false alarms", "share of harmless images that raise an alarm", 3),
        _PASSES,
    ),
    "repairs": (
        Column("usefulness", "clean", "what explanations of networks tell that were handed in clean"),
        Column("truth", "forged", "what explanations of forged networks tell once they are repaired"),
        Column("repair_cost_clean", "clean accuracy lost", "accuracy that it costs a clean network", 3),
        Column("repair_cost", "accuracy lost", "accuracy that it costs a forged network", 3),
        _PASSES,
    ),
}


@dataclass(frozen=True)
class Row:
    """A row of a board.

    Args:
        name: variant.
        family: its method.
        score: between 0 and 1, or nan.
        low: lower end of its interval, or nan.
        high: upper end, or nan.
        rank: with the places that the data leaves open, in words; empty without a rank.
        tie: a letter that it shares with what it cannot be told from; empty where it stands alone.
        shade: 1 or 2 with a letter, neighbours differ; else 0.
        control: whether it is one.
        folded: whether it is no method's best variant.
        tries: of how many variants it is the best.
        note: why it has no rank.
        place: ``placed``, ``unplaced`` or empty.
        division: ``closed`` or ``open``.
        clusters: independent cases.
        values: of the columns, nan where not known.
        best: whether no other is told apart from the first of what it is ranked among; it may be it.
    """

    name: str
    family: str
    score: float
    low: float
    high: float
    rank: str
    tie: str
    shade: int
    control: bool
    folded: bool
    tries: int
    note: str
    place: str
    division: str
    clusters: int
    values: tuple[float, ...]
    best: bool

    @property
    def settings(self) -> str:
        """What tells it from other variants of its method."""
        return self.name.removeprefix(self.family)


@dataclass(frozen=True)
class Board:
    """A board of one track.

    Args:
        name: one of :data:`benchmark.publishing.site.reading.RANKED`.
        columns: beside the score.
        rows: best first, controls where their scores put them.
        floor: the score of the control that does nothing, or nan.
        floor_name: its name.
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    floor: float
    floor_name: str

    @property
    def noun(self) -> str:
        """What it ranks."""
        return RANKED[self.name]

    @property
    def divisions(self) -> list[str]:
        """Divisions of its rows."""
        return sorted({row.division for row in self.rows})

    @property
    def ties(self) -> int:
        """How many groups cannot be told apart within."""
        return len({row.tie for row in self.rows} - {""})


def family_of(name: str) -> str:
    """The method that a variant is of, by its name."""
    return name.partition("[")[0]


def with_passes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the column `PASSES`, where passes are counted."""
    counted = [name for name in ("forwards_per_sample", "backwards_per_sample") if name in table]
    if not counted:
        return table
    return table.copy().assign(**{PASSES: table[counted].sum(axis=1, min_count=1)})


def board_of(name: str, table: pd.DataFrame) -> Board:
    """A board from the rows of one track, which must not be empty."""
    table = with_passes(table)
    noun = RANKED[name]
    columns = tuple(c for c in _COLUMNS[name] if c.name in table and table[c.name].notna().any())
    table = _with_controls_in_place(table, noun)
    ties, best = _ties(table, noun), _best(table, noun)
    rows = tuple(_row(row, noun, columns, ties, best) for row in table.to_dict("records"))
    floor = next((row.score for row in rows if row.name == FLOOR.get(noun)), float("nan"))
    return Board(name, columns, rows, floor, FLOOR.get(noun, ""))


def _with_controls_in_place(table: pd.DataFrame, noun: str) -> pd.DataFrame:
    """Controls move up to where their scores put them; the order of all others is the board's own.

    Where triggers are ranked apart by their place, a control belongs to neither kind and stays below.
    """
    if "place" in table and table["place"].fillna("").ne("").any():
        return table
    below = table["control"].astype(bool) & (table[noun] != FLOOR.get(noun))
    order = list(table.index[~below])
    scores = table["score"].fillna(-1.0)
    for index in table.index[below]:
        better = [i for i, other in enumerate(order) if scores[other] >= scores[index]]
        order.insert(better[-1] + 1 if better else 0, index)
    return table.loc[order].reset_index(drop=True)


def _ties(table: pd.DataFrame, noun: str) -> dict[str, tuple[str, int]]:
    """Letter and shade of the rows that cannot be told from another of their group."""
    groups: dict[tuple[str, str, int], list[str]] = {}
    floor = FLOOR.get(noun)
    kinds = zip(*(_texts(table, name) for name in ("division", "place")), strict=True)
    for name, (division, place), group in zip(table[noun], kinds, table.get("tie_group", ()), strict=False):
        if pd.notna(group):
            groups.setdefault((division, place, int(group)), []).append(str(name))
    if floor in set(table[noun]) and (key := _group_of_floor(table, noun, str(floor))) in groups:
        groups[key].append(str(floor))
    shared = [names for names in groups.values() if len(names) > 1]
    return {name: (_letter(number), 1 + number % 2) for number, names in enumerate(shared) for name in names}


def _best(table: pd.DataFrame, noun: str) -> set[str]:
    """Rows of the first group of each kind that is ranked by itself, the control that does nothing too.

    Groups are the board's own; of variants the best of their method alone has one.
    """
    if "tie_group" not in table:
        return set()
    first = table[table["tie_group"].eq(1)]
    found = {str(name) for name in first[noun]}
    floor = FLOOR.get(noun)
    at = table.index[table[noun] == floor]
    ranked = table[table["tie_group"].notna()]
    if len(at) and len(ranked) and pd.notna(table.loc[at[0], "score"]):
        leads = ranked.index[0] > at[0]
        if leads or _group_of_floor(table, noun, str(floor))[2] == 1:
            found.add(str(floor))
    return found


def _group_of_floor(table: pd.DataFrame, noun: str, floor: str) -> tuple[str, str, int]:
    """The group that the control which does nothing takes; of number 0 where the board does not tell it.

    Groups count from 1 down the ranking, the control among them: a number that no row has is its own.
    """
    closed = table[table["division"] == "closed"] if "division" in table else table
    at = int(closed.index[closed[noun] == floor][0]) if (closed[noun] == floor).any() else -1
    ranked = closed[closed["tie_group"].notna()] if "tie_group" in closed else closed[:0]
    before, after = ranked[ranked.index < at], ranked[ranked.index > at]
    last = int(before["tie_group"].iloc[-1]) if len(before) else 0
    following = int(after["tie_group"].iloc[0]) if len(after) else 0
    alone = ("closed", "", 0)
    if not following or following > last + 1:
        return alone
    if not last:
        return "closed", "", following
    leads = int((before["tie_group"] == last).sum()) == 1
    apart = closed.loc[at].get("apart")
    if not leads or pd.isna(apart):
        return alone
    return "closed", "", following if apart else last


def _letter(number: int) -> str:
    """``A`` to ``Z``, then ``AA`` and so on."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _texts(table: pd.DataFrame, name: str) -> Iterable[str]:
    return table[name].fillna("").astype(str) if name in table else [""] * len(table)


def _row(
    row: dict[object, object],
    noun: str,
    columns: Iterable[Column],
    ties: dict[str, tuple[str, int]],
    best: Container[str],
) -> Row:
    named = {str(key): value for key, value in row.items()}
    name = str(named[noun])
    note = _text(named.get("note"))
    tie, shade = ties.get(name, ("", 0))
    return Row(
        name=name,
        family=family_of(name),
        score=_real(named["score"]),
        low=_real(named.get("ci_low")),
        high=_real(named.get("ci_high")),
        rank=rank_words(named),
        tie=tie,
        shade=shade,
        control=bool(named["control"]),
        folded=note.startswith(TRIED),
        tries=_whole(named.get("tries")),
        note=note,
        place=_text(named.get("place")),
        division=_text(named.get("division")) or "closed",
        clusters=_whole(named.get("clusters")),
        values=tuple(_real(named[column.name]) for column in columns),
        best=name in best,
    )


def rank_words(row: Mapping[str, object]) -> str:
    """``2 (1-6)``: the rank, and the places that the data leaves open; empty without one."""
    ranks = [_real(row.get(name)) for name in ("rank", "rank_low", "rank_high")]
    if any(rank != rank for rank in ranks):
        return ""
    rank, low, high = (number(value, 0) for value in ranks)
    return rank if low == high else f"{rank} ({low}\u2013{high})"


def _whole(value: object) -> int:
    """A count; 0 where there is none."""
    real = _real(value)
    return 0 if real != real else int(real)


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
