"""From a suite to cells and steps: what would run, what is at hand, what is skipped, and why.

A cell is task x attack x defense x mode x seed. It takes four steps, each with an id that is a hash of all
that it depends on (code, task, weights, data, seed) and nothing else:

    forge (shared by all cells that judge the forgery)  ->  judge  ->  score
    reference (shared by all cells of a defense on a task)    ---^

A cell in mode ``transfer`` makes no forgery: a hardening is judged on those that the attack made against
other defenses, its *pool*, all in one judge step. What could not be made is left out.

A cell's id is that of its judge step, so it does not depend on metrics: those only change the score step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark.api import Attack, Detector, Method, Mode, Repair, TaskFacts
from benchmark.errors import PotemkinError, TaskError
from benchmark.failures import StepFailed, printable
from benchmark.methods.artefact import content_sha256
from benchmark.methods.base import ON_TASK
from benchmark.methods.card import CLOSED
from benchmark.methods.stored import StoredForgery
from benchmark.metrics.perceptual import weights_at_hand
from benchmark.running.cells import POOLED, Cell, Step
from benchmark.running.fingerprint import Code, Root
from benchmark.running.registry import Entry
from benchmark.running.roots import (
    forge_roots,
    names_asked,
    repair_forge_roots,
    repair_roots,
    scoring_roots,
    step_roots,
)
from benchmark.running.store import release
from benchmark.tasks.data import data_sha256
from benchmark.tasks.parts import Task, identity
from benchmark.tasks.targets import target_sha256
from benchmark.tracks import workbench_of
from benchmark.victims.loading import victim_sha256
from benchmark.victims.manifest import victim_entry

KEY_VERSION = 2
"""Raised when the meaning of a step's id changes."""


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
        self._known_parts: dict[tuple[str, str, tuple[Path, ...], str], dict[str, str]] = {}
        self._metrics = {name: str(weights_at_hand(name)) for name in ("lpips", "stlpips")}
        self.problems: list[str] = []
        """Submissions that were left out, since what they run cannot be told, a sentence each."""

    def cells(self, tasks: Iterable[Task], attacks: list[Entry], defenses: list[Entry]) -> list[Cell]:
        """Every cell of the tasks, task by task."""
        found = []
        attacks, defenses = ([e for e in entries if self._is_told(e)] for entries in (attacks, defenses))
        for task in tasks:
            assets, problem = self._assets(task)
            for seed in task.seeds:
                for attack in _of_track(attacks, task):
                    own = [
                        self._cell(task, attack, defense, mode, seed, assets, problem)
                        for defense in _of_track(defenses, task)
                        for mode in modes_of(attack, defense, task)
                    ]
                    found += [*own, *self._transfers(task, own, assets)]
        self._code.keep()
        return found

    def _is_told(self, entry: Entry) -> bool:
        """Whether it can be told what a submission's method runs; one of which it cannot harms no other."""
        if not entry.foreign:
            return True
        try:
            self._code.parts((Root(entry.file),))
        except Exception as error:  # whatever following a stranger's names leads to
            self.problems.append(
                f"{entry.variant} is left out, since what it runs cannot be told: {printable(error)}"
            )
            return False
        return True

    def _transfers(self, task: Task, cells: list[Cell], assets: dict[str, str]) -> Iterator[Cell]:
        """The cells in mode ``transfer`` of one attack: one for every hardening that has a pool.

        Forgeries against open defenses are in no pool: no closed method's score may depend on them.
        """
        if "transfer" not in task.modes:
            return
        made = [cell for cell in cells if cell.mode == "adaptive" and not (cell.skip or cell.problem)]
        made = [cell for cell in made if cell.defense.division == CLOSED]
        made.sort(key=lambda cell: cell.defense.variant)
        for cell in {cell.defense.variant: cell for cell in cells}.values():
            pool = tuple(other for other in made if other.defense.variant != cell.defense.variant)
            if pool and cell.defense.kind == "hardening":
                yield self._transfer(cell, pool, assets)

    def _transfer(self, like: Cell, pool: tuple[Cell, ...], assets: dict[str, str]) -> Cell:
        """The cell that judges a pool, otherwise like another cell of the attack and the defense."""
        forges = {other.defense.variant: step for other in pool for step in other.forges}
        parts = {f"{POOLED}{name}": step.id for name, step in forges.items()}
        common = self._common(like.task, like.seed, assets)
        judge = self._judge(like.task, like.defense, common | parts, pool=tuple(forges.values()))
        score = self._score(like.task, like.defense, judge, like.reference, pool=tuple(forges.values()))
        return replace(like, mode="transfer", forge=None, judge=judge, score=score, pool=pool)

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
        common = self._common(task, seed, assets)
        against = _named("against", defense) if mode == "adaptive" else {}
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
                **_named("attack", attack),
                **self._forging_code(files, task, defense.kind if against else ""),
            },
        )
        reference = _step(
            "reference",
            {**common, **_named("defense", defense), **self._steps_code(defense, task)},
        )
        judge = self._judge(task, defense, {**common, "forgery": forge.id}, (forge,))
        score = self._score(task, defense, judge, reference, (forge,))
        skip, culprit = "", ""
        try:
            skip = self._skip(task, attack, defense)
        except StepFailed as failure:
            problem, culprit = problem or failure.reason, "" if problem else failure.culprit
        return Cell(task, attack, defense, mode, seed, forge, reference, judge, score, skip, problem, culprit)

    def _common(self, task: Task, seed: int, assets: dict[str, str]) -> dict[str, str]:
        """What every step that runs methods depends on."""
        return {
            "key version": str(KEY_VERSION),
            "task": task.run_identity(),
            "torch": release(),
            "seed": str(seed),
            **assets,
        }

    def _judge(
        self,
        task: Task,
        defense: Entry,
        parts: dict[str, str],
        needs: tuple[Step, ...] = (),
        pool: tuple[Step, ...] = (),
    ) -> Step:
        """The step in which a defense sees forgeries."""
        code = self._steps_code(defense, task)
        return _step("judge", {**parts, **_named("defense", defense), **code}, needs, pool)

    def _score(
        self,
        task: Task,
        defense: Entry,
        judge: Step,
        reference: Step,
        needs: tuple[Step, ...] = (),
        pool: tuple[Step, ...] = (),
    ) -> Step:
        """The step that turns what a cell's other steps made into samples."""
        parts = {"scoring": task.score_identity(), "cell": judge.id, "reference": reference.id}
        code = self._scoring_code(task, defense.kind)
        return _step("score", {**parts, **self._metrics, **code}, (*needs, reference, judge), pool)

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

    def _forging_code(self, files: list[Path], task: Task, against: str) -> dict[str, str]:
        """What a step that forges runs, against a kind of defense or none."""
        roots = repair_forge_roots if against == "repair" else forge_roots
        return self._parts("forge", task, files, against, lambda: roots(task, files, self.root))

    def _steps_code(self, defense: Entry, task: Task) -> dict[str, str]:
        """What another step that runs methods runs."""
        roots = repair_roots if defense.kind == "repair" else step_roots
        files = [defense.file]
        return self._parts("steps", task, files, defense.kind, lambda: roots(task, files, self.root))

    def _scoring_code(self, task: Task, kind: str) -> dict[str, str]:
        """What scoring runs, of a kind of defense."""
        return self._parts("score", task, [], kind, lambda: scoring_roots(task, self.root, kind))

    def _parts(
        self, what: str, task: Task, files: list[Path], kind: str, roots: Callable[[], tuple[Root, ...]]
    ) -> dict[str, str]:
        """Fingerprints of what some roots lead to, which hundreds of a task's cells share."""
        asked = what, task.id, tuple(files), kind
        if asked not in self._known_parts:
            self._known_parts[asked] = self._code.parts(roots(), self._names.get(task.id, frozenset()))
        return self._known_parts[asked]

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


def _step(
    kind: str, parts: dict[str, str], needs: tuple[Step, ...] = (), pool: tuple[Step, ...] = ()
) -> Step:
    return Step(kind, _digest({"kind": kind, **parts})[:24], parts, needs, pool)


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
        _on_task(entry, task)
        for entry in entries
        if task.track in entry.method.tracks
        and not {entry.name, entry.variant} & set(task.leaves_out)
        and (
            entry.kind in ("attack", *task.defense_kinds())
            or (entry.kind == "hardening" and entry.method.control)
        )
    ]


def _on_task(entry: Entry, task: Task) -> Entry:
    """The method with the settings that a task gives it.

    Raises:
        TaskError: the method has no such setting, or it is a submission, whose settings are its own.
    """
    changed = task.method_settings.get(entry.name, {})
    if not changed:
        return entry
    own = entry.foreign or issubclass(entry.method, StoredForgery)
    for name in changed:
        what = "is a submission's, and its own" if own else ""
        what = what or ("names its variants" if name in entry.settings else "")
        what = what or ("" if _is_setting(entry.method, name) else "is none of it")
        if what:
            raise TaskError(f"task {task.id}, field method_settings.{entry.name}: setting {name!r} {what}")
    return replace(entry, settings={**entry.settings, ON_TASK: changed})


def _is_setting(method: type[Method], name: str) -> bool:
    """Whether an attribute of a class is a setting: a plain value, and nothing that all methods have."""
    of_all = {*Method.__annotations__, *dir(Attack), *dir(Detector)}
    return name not in of_all and isinstance(getattr(method, name, Method), bool | int | float | str | None)


def _named(role: str, entry: Entry) -> dict[str, str]:
    """What a step depends on of a method beside its code: its name, and what the task changes of it."""
    changed = entry.settings.get(ON_TASK)
    return {role: entry.variant} | ({f"{role} on task": identity(changed)} if changed else {})


def modes_of(attack: Entry, defense: Entry, task: Task) -> list[Mode]:
    """How forgeries are made: oblivious and, where the attack can adapt, adaptive, if the task has them.

    To a repair every attack adapts that is no control and has code: it forges, has what it made repaired, and
    forges again from there.
    """
    method, other = attack.method, defense.method
    assert issubclass(method, Attack)
    if issubclass(other, Detector):
        adapts = method.evades and not other.control
    elif issubclass(other, Repair):
        adapts = not (issubclass(method, StoredForgery) or method.control or other.control)
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
