"""Boards of a published suite as tables of fields, before any format: what stands where, and what is bold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from benchmark.boards.board import RULES
from benchmark.errors import PotemkinError
from benchmark.publishing.site.reading import RANKED, Published
from benchmark.publishing.site.rows import Board, board_of, family_of
from benchmark.publishing.site.views import heat_of

PLAIN = ("matrix", "tasks", "costs")
"""Boards that rank nothing."""
BOARDS = (*RANKED, *PLAIN)
"""What can be exported."""
_RULES = {
    **RULES,
    "tasks": "Mean manipulation of every attack under every defense on each task; nothing is ranked.",
    "costs": "Seconds and memory of each method's steps, of the machine that ran them.",
}
_BOLD = "Bold: the best of each division and kind, and what cannot be told apart from it (Holm, 5 %)."
_UNRANKED = "Nothing is ranked here: the rows are in order of score, which is no more than an order."


@dataclass(frozen=True)
class Number:
    """A number with the ends of its 95 % interval, nan where there are none; it may be unknown itself."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    digits: int = 2

    @property
    def has_interval(self) -> bool:
        """Whether both ends are known."""
        return self.low == self.low and self.high == self.high


Field = str | Number


@dataclass(frozen=True)
class Heading:
    """A column: its name in data, its title on paper, and whether it holds numbers.

    Args:
        name: unique in its table.
        title: above it.
        number: whether fields are numbers, aligned right.
        interval: whether fields have the ends of an interval.
        method: whether fields are variants of methods.
    """

    name: str
    title: str
    number: bool = False
    interval: bool = False
    method: bool = False


@dataclass(frozen=True)
class Line:
    """A row: its fields, whether it is bold, and the method's remarks (a control, of how many tries)."""

    fields: tuple[Field, ...]
    bold: bool = False
    remark: str = ""


@dataclass(frozen=True)
class Table:
    """A board of one track.

    Args:
        suite: whose.
        track: its track; empty for what is of all.
        board: its name, one of `BOARDS`.
        headings: the columns.
        lines: the rows, best first where they are ranked.
        note: what it shows, and what bold is.
    """

    suite: str
    track: str
    board: str
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]
    note: str

    @property
    def methods(self) -> list[str]:
        """Methods that it names, by their family, in the order of the rows."""
        at = [index for index, one in enumerate(self.headings) if one.method]
        return list(dict.fromkeys(family_of(str(line.fields[i])) for line in self.lines for i in at))


def tables_of(
    suite: Published, boards: Sequence[str], tracks: Sequence[str] = (), variants: bool = False
) -> list[Table]:
    """Tables of a suite's boards, track by track.

    Args:
        suite: published, or a folder of results.
        boards: names of `BOARDS`; none for all that rank.
        tracks: those that are wanted; none for all.
        variants: whether a method's variants stand beside its best.

    Raises:
        PotemkinError: the suite has no such track, or none of the boards.
    """
    if unknown := [one for one in tracks if one not in suite.tracks]:
        raise PotemkinError(
            f"{suite.suite} has no track {unknown[0][:80]!r}; it has {', '.join(suite.tracks) or 'none'}"
        )
    wanted = list(dict.fromkeys(boards)) or list(RANKED)
    chosen = [track for track in suite.tracks if not tracks or track in tracks]
    found = [table for track in chosen for table in _of_track(suite, track, wanted, variants)]
    if "costs" in wanted and len(costs := suite.boards.get("costs", pd.DataFrame())):
        found.append(_costs(suite, costs))
    if not found:
        named = ", ".join(wanted)
        raise PotemkinError(f"{suite.folder} holds no rows of {named}: finish `potemkin run {suite.suite}`")
    return found


def _of_track(suite: Published, track: str, wanted: Sequence[str], variants: bool) -> Iterator[Table]:
    for name in wanted:
        if name in RANKED and len(rows := suite.board(name, track)):
            yield _ranked(suite, track, board_of(name, rows), variants)
        elif name == "matrix":
            yield from _matrix(suite, track)
        elif name == "tasks" and len(rows := suite.board(name, track)):
            yield _tasks(suite, track, rows)


def _ranked(suite: Published, track: str, board: Board, variants: bool) -> Table:
    shown = [row for row in board.rows if variants or not row.folded]
    counts = [column.digits for column in board.columns]
    lines = tuple(
        Line(
            (
                row.rank,
                row.name,
                Number(row.score, row.low, row.high),
                row.tie,
                *(Number(value, digits=digits) for value, digits in zip(row.values, counts, strict=True)),
            ),
            row.best,
            _remark(row.control, row.division, row.place, row.tries if row.rank else 0),
        )
        for row in shown
    )
    headings = (
        *(Heading("rank", "Rank"), Heading(board.noun, board.noun.capitalize(), method=True)),
        *(Heading("score", "Score", number=True, interval=True), Heading("tie", "Tie")),
        *(Heading(column.name, _capital(column.title), number=True) for column in board.columns),
    )
    ranked = any(row.rank for row in board.rows)
    left = len(board.rows) - len(shown)
    folded = f" {left} variants that are not the best of their method are left out." if left else ""
    note = f"{_RULES[board.name]} {_BOLD if ranked else _UNRANKED}{folded}"
    return Table(suite.suite, track, board.name, headings, lines, note)


def _capital(title: str) -> str:
    """A title with a capital; one of capitals stays."""
    return title[:1].upper() + title[1:]


def _remark(control: bool, division: str, place: str, tries: int) -> str:
    """What is to be known of a row beside its numbers."""
    parts = ["control"] if control else []
    parts += ["open"] if division == "open" else []
    parts += [{"placed": "trigger with a place", "unplaced": "trigger without a place"}.get(place, "")]
    parts += [f"best of {tries}"] if tries > 1 else []
    return ", ".join(part for part in parts if part)


def _matrix(suite: Published, track: str) -> Iterator[Table]:
    """Defenses by rows and attacks by columns, a table per kind of defense."""
    matrix, attacks = suite.board("matrix", track), suite.board("attacks", track)
    if matrix.empty or attacks.empty:
        return
    by_attack = board_of("attacks", attacks)
    for name in [one for one in RANKED if one != "attacks"]:
        if (rows := suite.board(name, track)).empty:
            continue
        heat = heat_of(matrix, by_attack, board_of(name, rows))
        if not heat.rows:
            continue
        headings = [Heading(RANKED[name], RANKED[name].capitalize(), method=True)]
        headings += [
            Heading(f"{attack} {mode}", f"{attack} ({mode})", number=True, interval=True)
            for attack, mode in heat.columns
        ]
        lines = tuple(
            Line((one, *(Number(f.score, f.low, f.high) if f else Number(float("nan")) for f in fields)))
            for one, fields in heat.rows
        )
        yield Table(suite.suite, track, f"matrix-{name}", tuple(headings), lines, _RULES["matrix"])


def _tasks(suite: Published, track: str, rows: pd.DataFrame) -> Table:
    names = ("task", "attack", "defense", "mode")
    headings = [Heading(name, name.capitalize(), method=name in ("attack", "defense")) for name in names]
    headings += [
        Heading("score", "Score", number=True, interval=True),
        Heading("cases", "Cases", number=True),
    ]
    lines = tuple(
        Line(
            (
                *(str(row[name]) for name in names),
                Number(float(row["score"]), float(row["ci_low"]), float(row["ci_high"])),
                Number(float(row["cases"]), digits=0),
            )
        )
        for row in rows.to_dict("records")
    )
    return Table(suite.suite, track, "tasks", tuple(headings), lines, _RULES["tasks"])


def _costs(suite: Published, rows: pd.DataFrame) -> Table:
    numbers = {"cells": 0, "seconds": 1, "seconds_per_sample": 2, "cpu_seconds": 1, "memory_mb": 0}
    shown = {name: digits for name, digits in numbers.items() if name in rows}
    headings = [Heading("method", "Method", method=True), Heading("step", "Step")]
    headings += [Heading(name, name.replace("_", " ").capitalize(), number=True) for name in shown]
    lines = tuple(
        Line(
            (
                *(str(row["method"]), str(row["step"])),
                *(Number(float(row[name]), digits=digits) for name, digits in shown.items()),
            )
        )
        for row in rows.to_dict("records")
    )
    return Table(suite.suite, "", "costs", tuple(headings), lines, _RULES["costs"])
