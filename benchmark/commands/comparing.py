"""The command `compare`: where a submission would stand on a published board."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmark.boards.gates import control_violations
from benchmark.boards.results import cells_table, samples_table
from benchmark.boards.statistics import FEWEST
from benchmark.boards.tables import Tables
from benchmark.boards.words import with_interval
from benchmark.commands.grid import Column, Grid
from benchmark.commands.running import RUN_STEPS, execute
from benchmark.commands.session import Session
from benchmark.errors import MethodError, PotemkinError
from benchmark.files.assets import locate_root
from benchmark.publishing.compare import (
    TIED,
    Difference,
    Lowered,
    Neighbour,
    Place,
    joined,
    lowered,
    own_cells,
    places,
    without,
)
from benchmark.publishing.published import foreign_methods, published_folder, read_tables
from benchmark.publishing.since import of_tasks, since
from benchmark.running.cells import Cell
from benchmark.running.outcome import outcome_of
from benchmark.running.registry import FOLDERS, Entry, Registry
from benchmark.running.store import Record, Store, release
from benchmark.running.tally import Tally, count_cells


def compare(options: argparse.Namespace) -> int:
    """Runs a submission's missing cells and prints its place; 0 where all of its variants have one."""
    folder = published_folder(locate_root(), options.suite)
    path = submitted_path(options.path, locate_root())
    options.asked = [path.relative_to(locate_root()).parts[1], *_published_names(folder)]
    session = Session(options)
    entries = submission_at(path, session.root, session.registry)
    mine = {entry.variant for entry in entries}
    methods = {entry.variant: entry for entry in session.registry.entries}
    published = read_tables(folder, methods)
    if foreign := foreign_methods(published):
        raise PotemkinError(f"published method {foreign[0]} has left the project: see `potemkin verify`")
    now = cells_table(options.suite, session.everything, session.store)
    changed = since(published.cells, now, release())
    print(f"{options.suite}: {changed.line()}", flush=True)
    for task, reason in changed.left_out.items():
        print(f"left out: {task}, {reason}", flush=True)
    published = of_tasks(published, changed.left_out)
    cells = own_cells(session.everything, published.cells, mine, methods)
    if not cells:
        why = "its tasks are not published" if changed.left_out else "is it for its tracks?"
        raise PotemkinError(f"{_names(mine)} has no cell in suite {options.suite}: {why}")
    tally = _run(session, cells, mine)
    failed = _failures(cells, session.store, mine)
    for variant, line in failed.items():
        print(f"{variant}: not ranked, {line}")
    ended = [c for c in cells if not {c.attack.variant, c.defense.variant} & failed.keys()]
    code = _show(session, published, ended, [v for v in sorted(mine) if v not in failed])
    count = count_cells(cells, session.store, tally)
    print(count.line())
    return 1 if failed else code


def _published_names(folder: Path) -> set[str]:
    """Names of the methods of a published suite, with their settings."""
    cells = pd.read_csv(folder / "cells.csv", usecols=["attack", "defense"])
    return {*cells["attack"].astype(str), *cells["defense"].astype(str)}


def submitted_path(path: Path, root: Path) -> Path:
    """The path in full; raises ``MethodError`` where there is nothing, or where no methods can be."""
    if not path.exists():
        raise MethodError(f"no file or folder {path}: give a submission's, such as submissions/my_method")
    place = path.resolve()
    if not any(place.is_relative_to(root / folder) and place != root / folder for folder in FOLDERS):
        raise MethodError(f"{path} lies in neither submissions/ nor baselines/: put it into submissions/NAME")
    return place


def submission_at(path: Path, root: Path, registry: Registry) -> list[Entry]:
    """Every ranked variant of the methods in a folder or a file, a full path below the project's root.

    Raises:
        MethodError: a file of it could not be loaded, or it holds nothing to rank.
    """
    for problem in registry.problems:
        if (root / problem.file).is_relative_to(path):
            raise MethodError(f"{problem.file} could not be loaded: {problem.reason}")
    found = [e for e in registry.entries if e.file.resolve().is_relative_to(path)]
    ranked = [entry for entry in found if not entry.method.control]
    if not ranked:
        kind = "only controls, which have no rank" if found else "no method"
        name = path.relative_to(root).as_posix()
        raise MethodError(f"{name} holds {kind}: `potemkin new attack NAME` writes one to start from")
    return ranked


def _run(session: Session, cells: list[Cell], mine: set[str]) -> Tally:
    """Runs what is missing, and says what of it are others' forgeries."""
    known: dict[tuple[str, str], Record | None] = {}
    ends = Counter(outcome_of(cell, session.store, known).status for cell in cells)
    session.err.print(
        f"{_names(mine)}: {len(cells)} cells, {ends['missing']} to run; store {session.options.store}",
        soft_wrap=True,
        markup=False,
    )
    lent = {
        step.key: c.attack.variant
        for c in cells
        for step in c.forges
        if c.attack.variant not in mine and (c.mode == "oblivious" or c.pool) and not (c.skip or c.problem)
    }
    absent = {key: name for key, name in lent.items() if session.store.record(*key) is None}
    if absent:
        session.err.print(
            f"{len(absent)} forgeries of {len({*absent.values()})} other attacks are not in the store and "
            f"run too; `potemkin restore {session.suite.name}` takes those of images that are published",
            soft_wrap=True,
        )
    tally = execute(session, cells, RUN_STEPS, "running")
    made = [session.store.record(*key) or {} for key in absent if key in tally.ran]
    if made:
        seconds = sum(float(record.get("total_seconds", 0.0)) for record in made)
        print(f"forgeries of other attacks: {len(made)} made, in {seconds:.0f} s of a worker's time")
    return tally


def _failures(cells: Iterable[Cell], store: Store, mine: set[str]) -> dict[str, str]:
    """Variants of the submission with cells that failed, but by another method's fault: why, in a line."""
    known: dict[tuple[str, str], Record | None] = {}
    reasons: dict[str, list[str]] = {}
    total: Counter[str] = Counter()
    for cell in cells:
        outcome = outcome_of(cell, store, known)
        own = [name for name in (cell.attack.variant, cell.defense.variant) if name in mine]
        total.update(own)
        if outcome.status in ("ok", "skipped") or (outcome.blame == "method" and outcome.culprit not in mine):
            continue
        reason = f"{cell.task.id}: {outcome.reason or 'not finished, run again'}"
        for name in [name for name in own if name == outcome.culprit] or own:
            reasons.setdefault(name, []).append(reason)
    return {
        name: f"it failed in {len(found)} of its {total[name]} cells; {found[0]}"
        for name, found in sorted(reasons.items())
    }


def _show(session: Session, published: Tables, cells: list[Cell], variants: list[str]) -> int:
    """Prints places and what they do to others; 1 where a variant has none."""
    if not variants:
        return 1
    own = Tables(
        cells_table(session.suite.name, cells, session.store),
        samples_table(cells, session.store),
        published.methods,
    )
    before = without(published, set(variants))
    after = joined(before, own)
    known = set(control_violations(before))
    violations = [violation for violation in control_violations(after) if violation not in known]
    for violation in violations:
        print(f"not ranked: {violation}")
    if violations:
        return 1
    code = 0
    for variant in variants:
        found = list(places(after, variant))
        for place in found:
            _show_place(session, place, after)
        code = code or int(not found or not all(place.ranked or place.tried for place in found))
    if any(published.methods[variant].kind == "attack" for variant in variants):
        _show_lowered(lowered(before, after))
    return code


def _show_place(session: Session, place: Place, tables: Tables) -> None:
    title = f"Track {place.track}, {place.kind}s: {place.variant}"
    if place.row is None or not place.ranked:
        note = "" if place.row is None else str(place.row["note"])
        print(f"{title} has no rank: {note or 'too few of its cells have ended'}")
        return
    division = tables.methods[place.variant].division
    few = place.row["clusters"] < FEWEST
    what = "would be" if not few else "would by its score alone be"
    print(
        f"{title} {what} rank {_rank(place.row)} of {place.ranked} in division {division}, "
        f"score {_score(place.row)}"
    )
    if few:
        count = place.row["clusters"]
        print(
            f"{count} case{'s are' if count != 1 else ' is'} too few to rank: the order is no more than one."
        )
    table = Grid(
        (
            Column("", keep=True),
            Column("rank", right=True, keep=True),
            Column(place.kind, keep=True),
            Column("score [95 % interval]", keep=True),
            Column("difference to it [95 %, paired]", keep=True),
            Column("told apart?", keep=True),
        ),
        name=2,
        drops=False,
    )
    above = [n for n in place.neighbours if n.role in ("leader", "above") and _is_above(n, place)]
    for neighbour in above:
        table.add(*_fields(neighbour, few))
    table.add("submission", _rank(place.row), place.variant, _score(place.row), "", "", style="bold")
    for neighbour in place.neighbours:
        if neighbour not in above:
            table.add(*_fields(neighbour, few), style="dim" if neighbour.role == "control" else "")
    session.out.print(table)
    if not few and any(_is_corrected(neighbour.difference) for neighbour in place.neighbours):
        session.out.print(
            "An interval is of one pair; whether two can be told apart is asked of all pairs at once "
            "(Holm, 5 %): an interval may leave out 0, and the pair still not be told apart."
        )


def _is_corrected(difference: Difference) -> bool:
    """Whether the interval alone would tell the two apart, and the correction does not."""
    return difference.verdict == TIED and not difference.low <= 0 <= difference.high


def _is_above(neighbour: Neighbour, place: Place) -> bool:
    return place.row is not None and bool(neighbour.row["rank"] <= place.row["rank"])


def _fields(neighbour: Neighbour, few: bool) -> tuple[str, ...]:
    difference = neighbour.difference
    verdict = "too few cases to tell" if few and difference.verdict == TIED else difference.verdict
    paired = f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    return (
        neighbour.role,
        _rank(neighbour.row),
        neighbour.name,
        _score(neighbour.row),
        paired,
        verdict,
    )


def _rank(row: pd.Series) -> str:
    if pd.isna(row["rank"]):
        return "-"
    low, high = row["rank_low"], row["rank_high"]
    return f"{row['rank']}" if low == high else f"{row['rank']} ({low}-{high})"


def _score(row: pd.Series) -> str:
    return with_interval(row, 3)


def _show_lowered(found: list[Lowered]) -> None:
    if not found:
        print("It would lower no published hardening, detector or repair.")
        return
    print(f"It would lower {len(found)} published defenses (score before, after, paired difference [95 %]):")
    for one in found:
        place = f"  {one.track}, {one.kind} {one.name}: {one.before:.3f} -> "
        drop, low, high = one.drop
        if pd.isna(one.after):
            print(f"{place}no rank, since a cell of it with the submission has not ended")
        else:
            print(f"{place}{one.after:.3f}, {0 - drop:+.3f} [{0 - high:+.3f}, {0 - low:+.3f}]")


def _names(variants: set[str]) -> str:
    return ", ".join(sorted(variants))
