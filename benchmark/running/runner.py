"""Runs the steps that are missing: the longest first, two kinds of workers, nothing twice, nothing lost.

Every finished step is in the store before the next one starts, so a run that is killed loses the steps in
flight and no more, and resuming it is running it again.
"""

from __future__ import annotations

import datetime
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.files.writing import CannotWrite
from benchmark.isolation.operations import facts_of
from benchmark.running.cells import Cell, Step
from benchmark.running.clock import Limits
from benchmark.running.course import Course
from benchmark.running.jobs import Answer, Job, MethodRef
from benchmark.running.pool import Pool
from benchmark.running.registry import Entry
from benchmark.running.store import Record, Store, release
from benchmark.running.tally import Tally
from benchmark.running.timing import Seen, Standing, past_steps
from benchmark.running.turns import ORDER, turn

Progress = Callable[[Standing], None]
"""Is told several times a second where the run stands."""

_MOST_REPAIRS = 3
"""Times that one step is begun again in a run because a file that it reads has turned out to be damaged."""


@dataclass(frozen=True)
class Settings:
    """How to run.

    Args:
        root: the project's root.
        device: ``cpu`` or ``cuda``.
        workers: jobs at once.
        threads: threads per job.
        retry: run steps again that a method is to blame for.
        confine_all: run the project's own methods in confined processes too, not submissions' only.
        devices: of that kind, to which workers are bound in turn; none for the one that is the kind's first.
    """

    root: Path
    device: str
    workers: int
    threads: int
    retry: bool = False
    confine_all: bool = False
    devices: tuple[str, ...] = ()


class Runner:
    """Runs the missing steps of cells.

    Args:
        store: where steps are kept.
        settings: how to run.
        report: is called once with every reason of failure, as one line.
        past: what steps took elsewhere, besides those in the store; only the time left is told from it.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        report: Callable[[str], None],
        past: Sequence[Seen] = (),
    ) -> None:
        self._past = past
        self.store = store
        self.settings = settings
        self._report = report
        self._reported: set[str] = set()
        self._statuses: dict[tuple[str, str], str] = {}
        self._repairs: Counter[tuple[str, str]] = Counter()
        self._provenance = provenance(settings.root)

    def run(
        self,
        cells: Iterable[Cell],
        progress: Progress,
        kinds: frozenset[str] = frozenset(ORDER),
        own: Container[tuple[str, str]] | None = None,
    ) -> Tally:
        """Runs what is missing of the given kinds, and returns what has run.

        Args:
            cells: whose steps are run.
            progress: is told where the run stands.
            kinds: of steps that may run.
            own: kinds and ids of the steps that may run; None for all.
        """
        self.store.sweep()
        tally = Tally(workers=self.settings.workers)
        started = time.perf_counter()
        waiting = self._missing([c for c in cells if not (c.skip or c.problem)], kinds, own)
        course = Course(waiting, self.settings.workers, self._before(waiting))
        progress(course.standing())
        with Pool(
            self.settings.workers,
            self.settings.root,
            self.store.folder / "logs",
            self.settings.threads,
            self.settings.devices or (self.settings.device,),
        ) as pool:
            flying: dict[Path, tuple[Step, Cell]] = {}
            while waiting or flying:
                waiting = self._start(waiting, flying, pool, course)
                for job, answer in pool.wait() if flying else ():
                    step, cell = flying.pop(job.out)
                    if again := self._repair(step, cell, job, answer):
                        # Another step may have met the same damage: what is made again is made once.
                        under_way = {other.key for other, _ in (*waiting, *flying.values())}
                        again = [work for work in again if work[0].key not in under_way]
                        course.again(step, again)
                        waiting = [*again, *waiting]
                        continue
                    self._finish(step, cell, job, answer, tally)
                    course.ended(step)
                progress(course.standing())
        tally.wall = time.perf_counter() - started
        return tally

    def _before(self, waiting: list[tuple[Step, Cell]]) -> list[Seen]:
        """What steps took before, where there is any to come."""
        kinds = {step.kind for step, _ in waiting}
        own = (record for kind in sorted(kinds) for record in self.store.records(kind))
        return [*self._past, *past_steps(own)]

    def _missing(
        self, cells: list[Cell], kinds: frozenset[str], own: Container[tuple[str, str]] | None = None
    ) -> list[tuple[Step, Cell]]:
        """Steps to run, each once, with a cell that needs it: forgeries first, then task by task."""
        found: dict[tuple[str, str], tuple[Step, Cell]] = {}
        for cell in cells:
            for step in cell.steps():
                if step.kind not in kinds or (own is not None and step.key not in own):
                    continue
                if step.key not in found and self._wanted(step):
                    found[step.key] = (step, cell.maker(step))
        return sorted(
            found.values(),
            key=lambda work: ORDER[work[0].kind],  # stable: cells come task by task
        )

    def _wanted(self, step: Step) -> bool:
        record = self.store.record(*step.key)
        if record is None:
            return True
        if record["status"] == "ok":
            return self._outgrown(step, record)
        return self.settings.retry or record["blame"] in ("infra", "task")

    def _outgrown(self, step: Step, record: Record) -> bool:
        """Whether a step has a pool that is another now, which its id does not tell.

        Of judging a forgery has been made since, or is made now; of scoring others were judged.
        """
        if not step.pool:
            return False
        used = record.get("pool", [])
        for judge in (need for need in step.needs if need.kind == "judge"):
            judged = self.store.record(*judge.key) or {}
            return self._wanted(judge) or bool(judged.get("pool", []) != used)
        others = [need for need in step.pool if need.id not in used]
        return any(self._ok(need) or self._wanted(need) for need in others)

    def _start(
        self,
        waiting: list[tuple[Step, Cell]],
        flying: dict[Path, tuple[Step, Cell]],
        pool: Pool,
        course: Course,
    ) -> list[tuple[Step, Cell]]:
        """Starts what can start; returns what still waits, without what never can.

        Of what can, what nobody else at work has made ready for; of it the kind that comes first, and of that
        what a worker that waits has made ready for.
        """
        if not pool.free:
            return waiting
        left, ready = self._sorted_out(waiting, {step.key for step, _ in flying.values()}, course)
        while pool.free and ready:
            best = min(ready, key=lambda work: turn(work[0].kind, work[1].task.id, pool.having))
            self._submit(*best, flying, pool, course)
            ready.remove(best)
            left.remove(best)
        return left

    def _sorted_out(
        self, waiting: list[tuple[Step, Cell]], running: set[tuple[str, str]], course: Course
    ) -> tuple[list[tuple[Step, Cell]], list[tuple[Step, Cell]]]:
        """What still waits, without what never can start, and what of it can start now."""
        left: list[tuple[Step, Cell]] = []
        ready: list[tuple[Step, Cell]] = []
        pending = running | {step.key for step, _ in waiting}
        for step, cell in waiting:
            if any(need.key in pending for need in (*step.needs, *step.pool)):
                left.append((step, cell))
            elif self._can_start(step):
                left.append((step, cell))
                ready.append((step, cell))
            else:
                course.dropped(step)
                pending.discard(step.key)
        return left, ready

    def _submit(
        self, step: Step, cell: Cell, flying: dict[Path, tuple[Step, Cell]], pool: Pool, course: Course
    ) -> None:
        """Gives a step to a worker."""
        job = self._job(step, cell)
        own = cell.task.limits  # for one forgery; of a pool each may take as long
        limits = Limits(own.seconds * max(1, len(job.pool)), own.memory_gb)
        pool.submit(job, limits, trusted=step.kind == "score")
        flying[job.out] = (step, cell)
        course.started(step)

    def _can_start(self, step: Step) -> bool:
        """Whether all that the step needs has ended ok, and of a pool at least something."""
        return all(map(self._ok, step.needs)) and (not step.pool or any(map(self._ok, step.pool)))

    def _ok(self, step: Step) -> bool:
        if step.key not in self._statuses:
            record = self.store.record(*step.key)
            self._statuses[step.key] = "" if record is None else record["status"]
        return self._statuses[step.key] == "ok"

    def _job(self, step: Step, cell: Cell) -> Job:
        job = Job(
            kind=step.kind,
            root=self.settings.root,
            task=cell.task,
            attack=_reference(cell.attack),
            defense=_reference(cell.defense),
            mode=cell.mode,
            seed=cell.seed,
            store=self.store.folder,
            needs={need.kind: need.id for need in step.needs},
            pool=self._pool(step, cell),
            out=self.store.begin(),
            device=self.settings.device,
        )
        members = job.members()
        confined = any(member.foreign for member in members) or bool(members and self.settings.confine_all)
        return replace(job, confined=confined)

    def _pool(self, step: Step, cell: Cell) -> dict[str, str]:
        """Ids of the forgeries of its pool that a step takes, by the defenses that they were made against.

        Judging takes what could be made, scoring what was judged.
        """
        if not step.pool:
            return {}
        taken = {need.id for need in step.pool if self._ok(need)}
        if step.kind == "score":
            taken = set((self.store.record(*cell.judge.key) or {}).get("pool", ()))
        return {c.defense.variant: f.id for c in cell.pool for f in c.forges if f.id in taken}

    def _repair(self, step: Step, cell: Cell, job: Job, answer: Answer) -> list[tuple[Step, Cell]]:
        """What has to run, since a file that the step reads is damaged: the step that made it, and this one.

        Nothing where no file is; the last time the damage is a failure of the machine's.
        """
        if answer.damaged is None or self._repairs[step.key] == _MOST_REPAIRS:
            return []
        self._repairs[step.key] += 1
        self.store.discard(job.out)
        self.store.lose(answer.damaged)
        self._statuses.pop(answer.damaged.key, None)
        missing = [need for need in (*step.needs, *step.pool) if self.store.record(*need.key) is None]
        for need in missing:
            self._statuses.pop(need.key, None)
        return [*((need, cell.maker(need)) for need in missing), (step, cell)]

    def _finish(self, step: Step, cell: Cell, job: Job, answer: Answer, tally: Tally) -> None:
        """Puts a step's record and artefacts into the store."""
        if answer.unwritten:
            self.store.discard(job.out)
            raise CannotWrite(answer.unwritten)
        record: Record = {
            "kind": step.kind,
            "id": step.id,
            "parts": step.parts,
            "coordinates": cell.coordinates,
            "device": self.settings.device,
            **self._provenance,
            "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **answer.record,
        }
        if step.kind == "judge":
            record["forge_parts"] = cell.forge_parts
        if step.pool:
            record["pool"] = sorted(job.pool.values())
        if record["blame"] == "method" and not record["culprit"] and job.culprit:
            record["culprit"] = job.culprit
            record["reason"] = f"{record['culprit']}: {record['reason']}"
        elif record["blame"] == "method" and step.kind == "score" and record["status"] != "invalid":
            record["blame"] = "infra"  # no method runs in a score step; what one said can be a contradiction
        self.store.commit(job.out, step.kind, step.id, record, anew=bool(step.pool))
        self._statuses[step.key] = record["status"]
        tally.ran.add(step.key)
        inside = record.get("seconds", 0.0)
        tally.seconds[step.kind] += inside
        tally.seconds["loading"] += max(0.0, record.get("total_seconds", 0.0) - inside)
        if record["status"] not in ("ok", "skipped"):
            about = f"{record['status']} ({record['blame']}), {cell.task.id}: "
            self._say(about + (record["culprit"] or record["reason"]), about + record["reason"])

    def _say(self, fault: str, line: str) -> None:
        """Reports a fault of a method on a task once, in the words that it was first seen with."""
        if fault not in self._reported:
            self._reported.add(fault)
            self._report(line)


def provenance(root: Path) -> dict[str, Any]:
    """Commit of the project, whether its tree is dirty, and torch's release."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    return {
        "commit": git("rev-parse", "HEAD") or "",
        "dirty": status is None or bool(status),
        "torch": release(),
    }


def _reference(entry: Entry) -> MethodRef:
    facts = facts_of(entry.method) if entry.foreign else None
    return MethodRef(entry.module, entry.class_name, entry.settings, entry.kind, entry.file, facts)
