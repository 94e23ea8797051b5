"""From a suite to cells and steps: what would run, what is at hand, what is skipped, and why.

A cell is task x attack x defense x mode x seed. It takes four steps, each with an id that is a hash of all
that it depends on (code, task, weights, data, seed) and nothing else:

    forge (shared by all cells that judge the forgery)  ->  judge  ->  score
    reference (shared by all cells of a defense on a task)    ---^

A cell's id is that of its judge step, so it does not depend on metrics: those only change the score step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.api import Attack, Detector, Mode, TaskFacts
from benchmark.errors import PotemkinError
from benchmark.failures import StepFailed
from benchmark.methods.artefact import content_sha256
from benchmark.methods.stored import StoredForgery
from benchmark.metrics.perceptual import weights_at_hand
from benchmark.running.fingerprint import Code
from benchmark.running.registry import Entry
from benchmark.running.roots import names_asked, scoring_roots, step_roots
from benchmark.running.store import Record, Store, release
from benchmark.tasks.data import data_sha256
from benchmark.tasks.parts import Task
from benchmark.tasks.targets import target_sha256
from benchmark.tracks import workbench_of
from benchmark.victims.loading import victim_sha256
from benchmark.victims.manifest import victim_entry

KEY_VERSION = 2
"""Raised when the meaning of a step's id changes."""


@dataclass(frozen=True)
class Step:
    """A unit of work and of caching.

    Args:
        kind: ``forge``, ``reference``, ``judge`` or ``score``.
        id: hash of ``parts``.
        parts: named hashes and names of everything the step depends on.
        needs: steps that have to be finished before.
    """

    kind: str
    id: str
    parts: dict[str, str]
    needs: tuple[Step, ...] = ()

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
        mode: ``oblivious`` or ``adaptive``.
        seed: the run's seed.
        forge: shared by every cell that judges the same forgery.
        reference: shared by every cell of the defense on the task.
        judge: the cell's own.
        score: turns the three into samples.
        skip: why the cell does not apply, or the empty string.
        problem: why the cell cannot be run, or the empty string.
        culprit: variant of the method that ``problem`` is about, if it is not about the task.
    """

    task: Task
    attack: Entry
    defense: Entry
    mode: Mode
    seed: int
    forge: Step
    reference: Step
    judge: Step
    score: Step
    skip: str = ""
    problem: str = ""
    culprit: str = ""

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

    def steps(self) -> tuple[Step, ...]:
        """The steps in the order in which they can run."""
        return self.forge, self.reference, self.judge, self.score


class Planner:
    """Makes cells of one project tree.

    Args:
        root: the project's root.
        download: tells of a task whether weights that are not at hand may be downloaded for it.
        kept: file that fingerprints are kept in between commands, where its folder is there.
    """

    def __init__(
        self, root: Path, download: Callable[[Task], bool] = lambda task: False, kept: Path | None = None
    ) -> None:
        self.root = root
        self._download = download
        self._known_assets: dict[str, tuple[dict[str, str], str]] = {}
        self._known_skips: dict[tuple[str, str], str | StepFailed | None] = {}
        self._code = Code(root, kept)
        self._names: dict[str, frozenset[str]] = {}

    def cells(self, tasks: Iterable[Task], attacks: list[Entry], defenses: list[Entry]) -> list[Cell]:
        """Every cell of the tasks, task by task."""
        found = []
        for task in tasks:
            assets, problem = self._assets(task)
            for seed in task.seeds:
                for attack in _of_track(attacks, task):
                    for defense in _of_track(defenses, task):
                        for mode in modes_of(attack, defense, task):
                            found.append(self._cell(task, attack, defense, mode, seed, assets, problem))
        self._code.keep()
        return found

    def _cell(
        self,
        task: Task,
        attack: Entry,
        defense: Entry,
        mode: Mode,
        seed: int,
        assets: dict[str, str],
        problem: str,
    ) -> Cell:
        common = {
            "key version": str(KEY_VERSION),
            "task": task.run_identity(),
            "torch": release(),
            "seed": str(seed),
            **assets,
        }
        against = {"against": defense.variant} if mode == "adaptive" else {}
        files = [attack.file, *([defense.file] if against else [])]
        handed_in = {}
        if issubclass(attack.method, StoredForgery):  # of its files there is a hash, and no code
            files.remove(attack.file)
            handed_in = {"artefact": content_sha256(attack.file.parent, attack.settings["hashes"], task.id)}
        forge = _step(
            "forge",
            {
                **common,
                **against,
                **handed_in,
                "attack": attack.variant,
                **self._steps_code(files, task),
            },
        )
        reference = _step(
            "reference",
            {**common, "defense": defense.variant, **self._steps_code([defense.file], task)},
        )
        judge = _step(
            "judge",
            {
                **common,
                "defense": defense.variant,
                "forgery": forge.id,
                **self._steps_code([defense.file], task),
            },
            (forge,),
        )
        metrics = {name: str(weights_at_hand(name)) for name in ("lpips", "stlpips")}
        score = _step(
            "score",
            {
                "scoring": task.score_identity(),
                "cell": judge.id,
                "reference": reference.id,
                **metrics,
                **self._scoring_code(task),
            },
            (forge, reference, judge),
        )
        skip, culprit = "", ""
        try:
            skip = self._skip(task, attack, defense)
        except StepFailed as failure:
            problem, culprit = problem or failure.reason, "" if problem else failure.culprit
        return Cell(task, attack, defense, mode, seed, forge, reference, judge, score, skip, problem, culprit)

    def _skip(self, task: Task, attack: Entry, defense: Entry) -> str:
        """Why the cell does not apply, as one of its methods says."""
        facts = workbench_of(task.track).task_facts(task)
        for entry in (attack, defense):
            key = (entry.variant, task.id)
            if key not in self._known_skips:
                self._known_skips[key] = _ask_skip(entry, facts, self.root)
            reason = self._known_skips[key]
            if isinstance(reason, StepFailed):
                raise reason
            if reason:
                return f"{entry.variant}: {reason}"
        return ""

    def _steps_code(self, files: list[Path], task: Task) -> dict[str, str]:
        """What a step that runs methods runs."""
        return self._code.parts(step_roots(task, files, self.root), self._names.get(task.id, frozenset()))

    def _scoring_code(self, task: Task) -> dict[str, str]:
        """What scoring runs."""
        return self._code.parts(scoring_roots(task, self.root), self._names.get(task.id, frozenset()))

    def _assets(self, task: Task) -> tuple[dict[str, str], str]:
        """Hashes of weights and data, and what is wrong with them, if anything is."""
        if task.id not in self._known_assets:
            self._known_assets[task.id] = self._look_up(task)
        return self._known_assets[task.id]

    def _look_up(self, task: Task) -> tuple[dict[str, str], str]:
        try:
            found = {name: victim_entry(name, self.root) for name in task.victims()}
            self._names[task.id] = names_asked(task, found.values())
            entries = {
                name: entry.model_dump(mode="json", exclude={"licence", "origin"})
                for name, entry in found.items()
            }
            weights = {
                name: victim_sha256(name, self.root, download=self._download(task)) for name in entries
            }
            targets = {name: target_sha256(name, self.root) for name in task.targets()}
            return {
                "victim": _digest(_only(entries)),
                "weights": _only(weights) if len(weights) == 1 else _digest(weights),
                "data": data_sha256(task.data, self.root),
                **({"targets": _digest(targets)} if targets else {}),
            }, ""
        except PotemkinError as error:
            return {}, str(error)


def stale_reason(cell: Cell, known: dict[str, Record]) -> str:
    """Why a cell's judge step is not at hand: ``new``, or what has changed since it last ran."""
    name = json.dumps(cell.coordinates, sort_keys=True)
    before = known.get(name)
    if before is None:
        return "new"
    now = {**cell.forge.parts, **cell.judge.parts}
    old: dict[str, str] = {**before.get("forge_parts", {}), **before["parts"]}
    changed = sorted(
        part for part in now.keys() | old.keys() if now.get(part) != old.get(part) and part != "forgery"
    )
    return "changed: " + ", ".join(part.removeprefix("code ").removeprefix("file ") for part in changed)


def latest_records(store: Store) -> dict[str, Record]:
    """The newest judged record of every cell that ever ran, by its coordinates."""
    newest: dict[str, Record] = {}
    for record in store.records("judge"):
        name = json.dumps(record["coordinates"], sort_keys=True)
        if name not in newest or newest[name]["started"] < record["started"]:
            newest[name] = record
    return newest


def _step(kind: str, parts: dict[str, str], needs: tuple[Step, ...] = ()) -> Step:
    return Step(kind, _digest({"kind": kind, **parts})[:24], parts, needs)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _only(values: dict[str, Any]) -> Any:
    """The only value of a mapping, or the mapping."""
    return next(iter(values.values())) if len(values) == 1 else values


def _of_track(entries: list[Entry], task: Task) -> list[Entry]:
    """Methods of the task's track, of the kinds that the task is for, but those that it leaves out.

    Hardenings that are controls are there always: nothing can be compared without.
    """
    return [
        entry
        for entry in entries
        if task.track in entry.method.tracks
        and not {entry.name, entry.variant} & set(task.leaves_out)
        and (
            entry.kind in ("attack", *task.defense_kinds())
            or (entry.kind == "hardening" and entry.method.control)
        )
    ]


def modes_of(attack: Entry, defense: Entry, task: Task) -> list[Mode]:
    """Oblivious and, where the attack has something to adapt to, adaptive, as far as the task has them."""
    method, other = attack.method, defense.method
    assert issubclass(method, Attack)
    if issubclass(other, Detector):
        adapts = method.evades and not other.control
    else:
        adapts = method.adaptive and not other.control
    modes: list[Mode] = ["oblivious", "adaptive"] if adapts else ["oblivious"]
    return [mode for mode in modes if mode in task.modes]


def _ask_skip(entry: Entry, facts: TaskFacts, root: Path) -> str | StepFailed | None:
    """Why a method does not apply to a task, or how it failed to say so."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return entry.skip(facts, root)
    except StepFailed as failure:
        text = f"skip() {failure.reason.removeprefix(entry.variant + ': ')}"
        return StepFailed("crashed", "method", text, entry.variant)
    except (Exception, SystemExit) as error:  # whatever a method raises
        text = f"skip() raised {type(error).__name__}: {error}"
        return StepFailed("crashed", "method", text, entry.variant)
