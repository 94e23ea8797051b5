"""A plan in shares that need nothing of each other, for machines that do not see each other.

The unit is a forgery with all that judges it; a reference is one too. They stand in the order of the plan,
task by task and seed by seed, and are cut into as many runs as there are shards, of about equal time: most
tasks then lie in one shard, with the pools and scores that need all of a task. What needs steps of several
shards is nobody's, and is left to the run on the store that they are merged into.

Every machine cuts alike, since nothing counts but the plan and what it is told of times.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.errors import PotemkinError
from benchmark.running.cells import Cell, Step
from benchmark.running.timing import Estimator, Seen, factors

Key = tuple[str, str]
_WRITTEN = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")
_GRAIN = 1000
"""Parts of a second that times are rounded to, so that no last bit of a float moves a cut."""


@dataclass(frozen=True)
class Shard:
    """One of several shares.

    Args:
        number: which, from 1 on.
        of: how many there are.
    """

    number: int
    of: int

    @staticmethod
    def read(text: str) -> Shard:
        """``2/8`` is the second of eight; raises ``PotemkinError`` for what is none."""
        found = _WRITTEN.fullmatch(text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise PotemkinError(f"--shard {text[:40]!r}: write which of how many, as 1/8 to 8/8")
        return Shard(int(found[1]), int(found[2]))

    def folder(self, store: Path) -> Path:
        """Its own store, below the one that all are merged into."""
        return store / "shards" / f"{self.number}-of-{self.of}"

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass
class _Unit:
    """Steps that stay together.

    Args:
        steps: the first of them is made first.
        ticks: what they take, rounded.
    """

    steps: list[Step] = field(default_factory=list)
    ticks: int = 0


def own_steps(cells: Sequence[Cell], shard: Shard, past: Sequence[Seen] = ()) -> frozenset[Key]:
    """Kinds and ids of the steps that a shard makes.

    Args:
        cells: of the plan, the same for all shards.
        shard: which share.
        past: what steps took, the same for all shards; without any all steps of a kind take as long.
    """
    cells = [cell for cell in cells if not (cell.skip or cell.problem)]
    mine = frozenset(step.key for unit in _cut(_units(cells, past), shard) for step in unit.steps)
    return mine | _whole(cells, mine)


def _units(cells: Iterable[Cell], past: Sequence[Seen]) -> list[_Unit]:
    """Forgeries with what judges them, and references, in the order of the plan."""
    seconds = _clock(past)
    found: dict[Key, _Unit] = {}
    known: set[Key] = set()
    for cell in sorted_by_task(cells):
        homes = [] if cell.forge is None else [(cell.forge, cell.forge.key), (cell.judge, cell.forge.key)]
        for step, home in ((cell.reference, cell.reference.key), *homes):
            if step.key not in known:
                known.add(step.key)
                unit = found.setdefault(home, _Unit())
                unit.steps.append(step)
                unit.ticks += max(1, round(_GRAIN * seconds(step, cell)))
    return list(found.values())


def sorted_by_task(cells: Iterable[Cell]) -> list[Cell]:
    """Cells with those of one task and seed together, otherwise in their order."""
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.task.id, cell.seed), []).append(cell)
    return [cell for group in groups.values() for cell in group]


def _clock(past: Sequence[Seen]) -> Callable[[Step, Cell], float]:
    """Tells what a step will take, in seconds."""
    estimator = Estimator([*past, *([] if past else _RATIOS)])
    known: dict[tuple[str, ...], float] = {}

    def seconds(step: Step, cell: Cell) -> float:
        like = factors(step.kind, cell.coordinates)
        if like not in known:
            known[like] = estimator.seconds(like) or 0.0
        return known[like]

    return seconds


_RATIOS: list[Seen] = [
    (factors("forge", {"task": "", "attack": "", "defense": "", "mode": "oblivious"}), 5.4)
]
"""Where nothing is known one forgery of some length is made up: what counts is how kinds compare."""


def _cut(units: Sequence[_Unit], shard: Shard) -> list[_Unit]:
    """The units whose middle lies in the shard's share of the time."""
    total, before, mine = sum(unit.ticks for unit in units), 0, []
    for unit in units:
        middle = 2 * before + unit.ticks
        if shard.number - 1 == middle * shard.of // (2 * total):
            mine.append(unit)
        before += unit.ticks
    return mine


def _whole(cells: Iterable[Cell], mine: frozenset[Key]) -> frozenset[Key]:
    """Steps beyond the units that need nothing but what is the shard's: of pools, and scores."""
    found: set[Key] = set()
    for cell in cells:
        if all(step.key in mine for step in cell.forges):
            if cell.judge.pool:
                found.add(cell.judge.key)
            if cell.reference.key in mine:
                found.add(cell.score.key)
    return frozenset(found)
