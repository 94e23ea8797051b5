"""Cells, and the steps that they take.

A cell is task x attack x defense x mode x seed, one row of ``cells.csv``; :mod:`benchmark.running.plan` makes
them, and says what ids are made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmark.running.registry import Entry
from benchmark.tasks.parts import CellMode, Task

BETWEEN = "; "
"""Between names of defenses."""
POOLED = "forgery against "
"""Begins the name of a judge step's part that is a forgery of its pool."""


@dataclass(frozen=True)
class Step:
    """A unit of work and of caching.

    Args:
        kind: ``forge``, ``reference``, ``judge`` or ``score``.
        id: hash of ``parts``.
        parts: named hashes and names of everything the step depends on.
        needs: steps that have to have ended ok before.
        pool: steps that have to have ended before, however; those that ended ok are used.
    """

    kind: str
    id: str
    parts: dict[str, str]
    needs: tuple[Step, ...] = ()
    pool: tuple[Step, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Kind and id."""
        return self.kind, self.id


@dataclass(frozen=True)
class Cell:
    """One row of ``cells.csv``.

    Args:
        task: the task.
        attack: the attack's variant.
        defense: the defense's variant.
        mode: ``oblivious``, ``adaptive`` or ``transfer``.
        seed: the run's seed.
        forge: shared by every cell that judges the same forgery; None in mode ``transfer``.
        reference: shared by every cell of the defense on the task.
        judge: the cell's own.
        score: turns what they made into samples.
        skip: why the cell does not apply, or the empty string.
        problem: why the cell cannot be run, or the empty string.
        culprit: variant of the method that ``problem`` is about, if it is not about the task.
        pool: in mode ``transfer`` the adaptive cells whose forgeries are judged, by their defenses' names.
    """

    task: Task
    attack: Entry
    defense: Entry
    mode: CellMode
    seed: int
    forge: Step | None
    reference: Step
    judge: Step
    score: Step
    skip: str = ""
    problem: str = ""
    culprit: str = ""
    pool: tuple[Cell, ...] = ()

    @property
    def id(self) -> str:
        """The cell's id."""
        return self.judge.id

    @property
    def coordinates(self) -> dict[str, str | int]:
        """The cell's name in words."""
        return {
            "task": self.task.id,
            "attack": self.attack.variant,
            "defense": self.defense.variant,
            "mode": self.mode,
            "seed": self.seed,
        }

    @property
    def forges(self) -> tuple[Step, ...]:
        """The forgeries that the cell judges."""
        own = () if self.forge is None else (self.forge,)
        return own + tuple(step for cell in self.pool for step in cell.forges)

    @property
    def forge_parts(self) -> dict[str, str]:
        """What the forgeries are made of; ``against`` names all that those of a pool were made against."""
        parts: dict[str, str] = {}
        for step in self.forges:
            parts |= step.parts
        return parts | ({"against": _names(self.pool)} if self.pool else {})

    def steps(self) -> tuple[Step, ...]:
        """The steps in the order in which they can run."""
        return *self.forges, self.reference, self.judge, self.score

    def maker(self, step: Step) -> Cell:
        """The cell whose methods a step of this one runs: for a forgery of the pool the one that it is of."""
        return next((cell for cell in self.pool if step in cell.forges), self)


def _names(pool: Iterable[Cell]) -> str:
    """The defenses that the forgeries of a pool were made against."""
    return BETWEEN.join(cell.defense.variant for cell in pool)
