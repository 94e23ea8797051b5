"""What changed from one publication to another, and why: methods, tasks, ranks beyond ties, takedowns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmark.boards.tables import Tables
from benchmark.failures import printable
from benchmark.publishing.snapshot import Kept, Ranking, Snapshot, Standing
from benchmark.publishing.takedowns import Relief, Takedown, comparable, reliefs, takedowns

UNTOLD = "takedowns cannot be told: the samples of one of both are not at hand"
INCOMPARABLE = "takedowns cannot be told: no cell is in both publications with the same scores"
_NAMED = 4
"""Methods that are named as the cause of a change."""


class Named(Kept):
    """A variant and its kind."""

    kind: str
    name: str


class Raised(Kept):
    """A task whose version is another."""

    task: str
    before: int
    after: int


class Move(Kept):
    """A method whose place is another than all that the data left open before, or that has or lost its rank.

    Args:
        track: of the board.
        board: its name.
        name: variant.
        before: its rank in words.
        after: likewise.
        score_before: None where it had none.
        score_after: likewise.
        better: whether it rose.
        why: in words; empty where nothing is known.
    """

    track: str
    board: str
    name: str
    before: str
    after: str
    score_before: float | None
    score_after: float | None
    better: bool
    why: str


class Changes(Kept):
    """All that changed.

    Args:
        added: methods that are new.
        removed: methods that are gone.
        recoded: methods whose code is another.
        tasks_added: ids.
        tasks_removed: ids.
        tasks_raised: versions that are others.
        tasks_remade: ids of tasks of the same version whose weights or data are others.
        torch: releases, where they differ; else empty.
        moved: places that are others.
        takedowns: what makes a defense's worst case worse.
        reliefs: worst cases that are better, since something is no longer tried.
        untold: why takedowns and reliefs are not known; empty where they are.
    """

    added: tuple[Named, ...] = ()
    removed: tuple[Named, ...] = ()
    recoded: tuple[Named, ...] = ()
    tasks_added: tuple[str, ...] = ()
    tasks_removed: tuple[str, ...] = ()
    tasks_raised: tuple[Raised, ...] = ()
    tasks_remade: tuple[str, ...] = ()
    torch: tuple[str, ...] = ()
    moved: tuple[Move, ...] = ()
    takedowns: tuple[Takedown, ...] = ()
    reliefs: tuple[Relief, ...] = ()
    untold: str = ""

    def lines(self) -> list[str]:
        """In words, one line each; what is untold comes last, and nothing but it where nothing changed."""
        found = [
            *(f"new {one.kind}: {one.name}" for one in self.added),
            *(f"gone {one.kind}: {one.name}" for one in self.removed),
            *(f"other code of {one.kind} {one.name}" for one in self.recoded),
            *(f"new task: {task}" for task in self.tasks_added),
            *(f"gone task: {task}" for task in self.tasks_removed),
            *(f"task {one.task}: version {one.before} -> {one.after}" for one in self.tasks_raised),
            *(f"task {task}: other weights or data" for task in self.tasks_remade),
            *([f"torch: {' -> '.join(self.torch)}"] if self.torch else []),
            *(one.line() for one in self.takedowns),
            *(one.line() for one in self.reliefs),
            *map(_move, self.moved),
        ]
        nothing = [] if found else ["nothing changed: the same methods, tasks and places"]
        return [printable(line) for line in (*found, *nothing, *([self.untold] if self.untold else []))]


def _move(one: Move) -> str:
    scores = " -> ".join("none" if s is None else f"{s:.3f}" for s in (one.score_before, one.score_after))
    why = f": {one.why}" if one.why else ""
    return f"rank ({one.track}, {one.board}): {one.name} {one.before} -> {one.after}, score {scores}{why}"


class Told(NamedTuple):
    """Takedowns and reliefs, and why they are not known; empty where they are."""

    takedowns: Sequence[Takedown] = ()
    reliefs: Sequence[Relief] = ()
    untold: str = ""


def changes(before: Snapshot, after: Snapshot, told: Told) -> Changes:
    """What changed from one publication to another.

    Args:
        before: the one.
        after: the other.
        told: takedowns and reliefs, by :func:`told_by`, or as a history has them.
    """
    common = before.methods.keys() & after.methods.keys()
    tasks = before.tasks.keys() & after.tasks.keys()
    raised = [t for t in sorted(tasks) if before.tasks[t].version != after.tasks[t].version]
    remade = [t for t in sorted(tasks) if before.tasks[t].of != after.tasks[t].of and t not in raised]
    recoded = [name for name in sorted(common) if _is_other(before, after, name)]
    found = Changes(
        added=_named(after, after.methods.keys() - common),
        removed=_named(before, before.methods.keys() - common),
        recoded=_named(after, recoded),
        tasks_added=tuple(sorted(after.tasks.keys() - tasks)),
        tasks_removed=tuple(sorted(before.tasks.keys() - tasks)),
        tasks_raised=tuple(
            Raised(task=t, before=before.tasks[t].version, after=after.tasks[t].version) for t in raised
        ),
        tasks_remade=tuple(remade),
        torch=(before.torch, after.torch) if before.torch != after.torch else (),
        takedowns=tuple(told.takedowns),
        reliefs=tuple(told.reliefs),
        untold=told.untold,
    )
    return found.model_copy(update={"moved": tuple(_moves(before, after, found))})


def told_by(before: Tables, after: Tables) -> Told:
    """What two publications' samples tell."""
    if not comparable(before, after):
        return Told(untold=INCOMPARABLE)
    return Told(takedowns(before, after), reliefs(before, after))


def _named(snapshot: Snapshot, names: Sequence[str] | set[str]) -> tuple[Named, ...]:
    found = [(snapshot.methods[name].kind, name) for name in names]
    return tuple(Named(kind=kind, name=name) for kind, name in sorted(found))


def _is_other(before: Snapshot, after: Snapshot, name: str) -> bool:
    codes = before.methods[name].code, after.methods[name].code
    return "" not in codes and codes[0] != codes[1]


def _moves(before: Snapshot, after: Snapshot, found: Changes) -> Iterator[Move]:
    """Methods of boards that are in both, in the order of the new one."""
    boards = {(one.track, one.board): one for one in before.boards}
    for board in after.boards:
        if (board.track, board.board) not in boards:
            continue
        old = boards[board.track, board.board]
        known = {row.name: row for row in old.rows}
        for row in board.rows:
            was = known.get(row.name)
            if was is None or row.control or (way := _way(was, row)) is None:
                continue
            yield Move(
                track=board.track,
                board=board.board,
                name=row.name,
                before=was.words,
                after=row.words,
                score_before=was.score,
                score_after=row.score,
                better=way,
                why=_why(was, row, way, (old, board), found),
            )


def _way(was: Standing, now: Standing) -> bool | None:
    """Whether a place is better or worse than all that was left open before; None where it is neither."""
    if was.rank is None or now.rank is None:
        return None if was.rank is now.rank else now.rank is not None
    ends = was.rank_low, was.rank_high, now.rank_low, now.rank_high
    low, high, now_low, now_high = (one if one is not None else 0 for one in ends)
    if now_high < low:
        return True
    return False if now_low > high else None


def _why(was: Standing, now: Standing, better: bool, boards: tuple[Ranking, Ranking], found: Changes) -> str:
    """What may have moved a method: takedowns, who came or left above it, its code, the tasks."""
    track = boards[1].track
    parts = []
    if now.rank is None and now.note:
        parts.append(now.note)
    took = [t.attack for t in found.takedowns if t.track == track and t.defense == now.name]
    if took and not better:
        parts.append(f"taken down by {_some(took)}")
    if better and any(r.track == track and r.defense == now.name for r in found.reliefs):
        parts.append("something that was tried on it is no longer")
    new, gone = ({one.name for one in some} for some in (found.added, found.removed))
    above = [row.name for row in boards[1].rows if row.name in new and _is_above(row, now)]
    left = [row.name for row in boards[0].rows if row.name in gone and _is_above(row, was)]
    if above and not better:
        parts.append(f"new above it: {_some(above)}")
    if left and better:
        parts.append(f"gone from above it: {_some(left)}")
    if any(one.name == now.name for one in found.recoded):
        parts.append("its code is another")
    if any(task.partition("/")[0] == track for task in _tasks(found)):
        parts.append("the board's tasks are others")
    return "; ".join(parts)


def _is_above(row: Standing, other: Standing) -> bool:
    kinds = [(one.division, one.place) for one in (row, other)]
    return (
        kinds[0] == kinds[1] and None not in (row.rank, other.rank) and (row.rank or 0) <= (other.rank or 0)
    )


def _tasks(found: Changes) -> Iterator[str]:
    yield from found.tasks_added
    yield from found.tasks_removed
    yield from found.tasks_remade
    yield from (one.task for one in found.tasks_raised)


def _some(names: Sequence[str]) -> str:
    named = list(dict.fromkeys(names))
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more
