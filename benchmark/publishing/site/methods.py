"""A page's worth of facts about a method: its card, its settings, where it stands, who took it down."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlencode

from benchmark.errors import MethodError
from benchmark.methods.card import load_card
from benchmark.publishing.site.gallery import Gallery, Strip
from benchmark.publishing.site.reading import Published
from benchmark.publishing.site.rows import Board, Column, Row, family_of
from benchmark.running.registry import Entry

_SHOWN = 12
"""Characters of a hash that are shown."""


@dataclass(frozen=True)
class Place:
    """A method's rows on one board.

    Args:
        suite: whose board.
        track: of the board.
        board: its name.
        page: where it is, below the site.
        cells: the page of the suite's cells.
        filter: of its cells there.
        columns: beside the score.
        rows: of its variants.
        floor: the score of the control that does nothing.
        tied: variants, and those that each cannot be told apart from.
        commit: of the run.
        command: that runs its cells again.
        pictures: tasks, and the pages of their pictures.
    """

    suite: str
    track: str
    board: str
    page: str
    cells: str
    filter: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    floor: float
    tied: tuple[tuple[str, tuple[str, ...]], ...]
    commit: str
    command: str
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class MethodPage:
    """What is known of a method.

    Args:
        family: its name.
        kind: ``attack``, ``hardening`` or ``detector``.
        control: whether it is one.
        known: whether the project has it.
        division: ``closed`` or ``open``; empty where it is not known.
        tracks: that it is for.
        paper: what it is after.
        title: the name in words, of a submission.
        about: what it says of itself.
        facts: of its card, by name.
        variants: each with its settings in words.
        places: its rows, board by board.
        takedowns: that it did or suffered.
        strips: its best and worst pictures.
    """

    family: str
    kind: str
    control: bool
    known: bool
    division: str
    tracks: tuple[str, ...]
    paper: str
    title: str
    about: str
    facts: tuple[tuple[str, str], ...]
    variants: tuple[tuple[str, str], ...]
    places: tuple[Place, ...]
    takedowns: tuple[dict[str, object], ...]
    strips: tuple[Strip, ...]


Boards = Mapping[tuple[str, str], Sequence[Board]]
"""Boards by suite and track."""


def method_pages(
    suites: Sequence[Published],
    boards: Boards,
    methods: Mapping[str, Entry],
    root: Path,
    galleries: Mapping[tuple[str, str], Sequence[Gallery]],
) -> list[MethodPage]:
    """A page for every method that is on a board, by name.

    Args:
        suites: the published ones.
        boards: of theirs.
        methods: the project's, by variant.
        root: the project's root.
        galleries: of suites and tracks.
    """
    found: dict[str, list[Place]] = {}
    kinds: dict[str, tuple[str, bool]] = {}
    for suite in suites:
        for track in suite.tracks:
            for board in boards[suite.suite, track]:
                for family in dict.fromkeys(row.family for row in board.rows):
                    tasks = [gallery.task for gallery in galleries.get((suite.suite, track), ())]
                    place = _place(suite, track, board, family, tasks)
                    found.setdefault(family, []).append(place)
                    kinds[family] = board.noun, place.rows[0].control
    return [
        _page(
            family,
            *kinds[family],
            places,
            _entries(family, methods),
            suites,
            root,
            _strips(family, galleries),
        )
        for family, places in sorted(found.items())
    ]


def _entries(family: str, methods: Mapping[str, Entry]) -> list[Entry]:
    """Variants of a method that the project has."""
    return [entry for variant, entry in sorted(methods.items()) if entry.name == family]


def _place(suite: Published, track: str, board: Board, family: str, tasks: Sequence[str]) -> Place:
    rows = tuple(row for row in board.rows if row.family == family)
    tied = tuple(
        (row.name, tuple(o.name for o in board.rows if o.tie == row.tie and o is not row))
        for row in rows
        if row.tie
    )
    option = "attack" if board.name == "attacks" else "defense"
    command = f"potemkin run {shlex.quote(suite.suite)} --{option} {shlex.quote(family)}"
    pictures = tuple((task, f"{suite.suite}/{gallery_page(task)}") for task in tasks)
    return Place(
        suite=suite.suite,
        track=track,
        board=board.name,
        page=f"{suite.suite}/{track}.html",
        cells=f"{suite.suite}/cells.html",
        filter=urlencode({"track": track, option: rows[0].name}),
        columns=board.columns,
        rows=rows,
        floor=board.floor,
        tied=tied,
        commit=suite.source(track).commit,
        command=command,
        pictures=pictures,
    )


def gallery_page(task: str) -> str:
    """The file of a task's pictures, in its suite's folder."""
    return f"pictures-{task.partition('/')[2] or task}.html"


def _page(
    family: str,
    kind: str,
    control: bool,
    places: Sequence[Place],
    entries: Sequence[Entry],
    suites: Sequence[Published],
    root: Path,
    strips: Sequence[Strip],
) -> MethodPage:
    first = entries[0] if entries else None
    card, title = _card(first, root) if first else ([], "")
    named = list(dict.fromkeys(row.name for place in places for row in place.rows))
    settings = {entry.variant: _settings(entry.settings) for entry in entries}
    return MethodPage(
        family=family,
        kind=kind,
        control=control,
        known=first is not None,
        division=first.division if first else places[0].rows[0].division,
        tracks=tuple(dict.fromkeys(place.track for place in places)),
        paper=str(first.method.paper) if first else "",
        title=title,
        about=_about(first) if first else "",
        facts=(*card, *_code(family, kind, suites)),
        variants=tuple((name, settings.get(name, name.removeprefix(family).strip("[]"))) for name in named),
        places=tuple(places),
        takedowns=tuple(takedowns_of(suites, family)),
        strips=tuple(strips),
    )


def _strips(family: str, galleries: Mapping[tuple[str, str], Sequence[Gallery]]) -> list[Strip]:
    """A method's best and worst pictures, of the first task that has some.

    Of an attack what it does undefended, of a hardening what the strongest attack does to it.
    """
    for gallery in (gallery for own in galleries.values() for gallery in own):
        found = []
        for strip in gallery.strips:
            attacks = strip.attack == family
            if attacks or strip.attack == gallery.attacks[0]:
                wanted = "none" if attacks else family
                rows = tuple(row for row in strip.rows if family_of(row.defense) == wanted)
                found += [replace(strip, rows=rows)] if rows else []
        if found:
            return found
    return []


def _settings(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def _about(entry: Entry) -> str:
    """What a method of the project's own says of itself; a submission's stand-in says nothing."""
    text = inspect.cleandoc(entry.method.__doc__ or "") if not entry.foreign else ""
    return " ".join(text.partition("\n\n")[0].split())


def _card(entry: Entry, root: Path) -> tuple[list[tuple[str, str]], str]:
    """Facts of a method's card by name, and its title."""
    file = entry.file.relative_to(root).as_posix() if entry.file.is_relative_to(root) else entry.file.name
    facts = [("Paper", str(entry.method.paper)), ("File", file)]
    if not entry.foreign:
        return facts, ""
    try:
        card = load_card(entry.file.parent)
    except (MethodError, OSError) as error:
        return [*facts, ("Card", f"cannot be read: {' '.join(str(error).split())}")], ""
    facts[0] = ("Paper", card.paper)
    facts += [("Authors", ", ".join(card.authors)), ("Licence", card.licence)]
    if card.parameters:
        facts.append(("Parameters", _settings(card.parameters)))
    return ([*facts, ("Note", card.note)] if card.note else facts), card.title


def _code(family: str, kind: str, suites: Sequence[Published]) -> list[tuple[str, str]]:
    """Of which code the published cells are, suite by suite."""
    column = "attack" if kind == "attack" else "defense"
    found: dict[str, list[str]] = {}
    for suite in suites:
        own = suite.cells[suite.cells[column].map(family_of) == family]
        for code in sorted(set(own[f"{column}_code"]) - {""}):
            found.setdefault(code[:_SHOWN], []).append(suite.suite)
    return [("Code", "; ".join(f"{code} ({', '.join(names)})" for code, names in found.items()))] * bool(
        found
    )


def takedowns_of(suites: Sequence[Published], family: str = "", track: str = "") -> list[dict[str, object]]:
    """Published takedowns, the newest first: of a method, of a track, or all.

    A published file may be another's than this release's: rows that lack a column are left out.
    """
    found = []
    for suite in suites:
        for row in suite.takedowns.to_dict("records"):
            named = {str(name): value for name, value in row.items()}
            if not {"commit", "attack", "defense", "known", "cases", "of", "before", "after"} <= set(named):
                continue
            of = {family_of(str(named[side])) for side in ("attack", "defense")}
            if (not family or family in of) and (not track or named.get("track") == track):
                found.append({**named, "known": _truth(named["known"])})
    return found[::-1]


def _truth(value: object) -> bool:
    return str(value) == "True"
