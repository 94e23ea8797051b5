"""What a worker is given to do and what it answers: plain data that goes through a pipe."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmark.api import Method
from benchmark.isolation.blame import Company
from benchmark.isolation.host import Guest
from benchmark.isolation.operations import facts_of
from benchmark.isolation.stand_ins import Origin, stand_in, stand_in_class
from benchmark.methods.stored import StoredForgery
from benchmark.running.store import StoreDamaged
from benchmark.tasks.parts import CellMode, Task


@dataclass(frozen=True)
class MethodRef:
    """Where to find a method, and its settings.

    Args:
        module: dotted module that defines it.
        class_name: its class there.
        settings: keyword arguments.
        kind: one of :data:`benchmark.methods.variants.KINDS`.
        file: where it is defined.
        facts: class attributes, as the registry knows them; None for the project's own methods.
    """

    module: str
    class_name: str
    settings: dict[str, Any]
    kind: str
    file: Path
    facts: dict[str, Any] | None = None

    @property
    def foreign(self) -> bool:
        """Whether it is a submission's."""
        return self.facts is not None

    @property
    def variant(self) -> str:
        """Name with settings, as the method itself would say."""
        return self.create(None, confined=True).variant

    def create(self, guest: Guest | None, confined: bool) -> Method:
        """The method, or what stands in for it.

        Args:
            guest: the process that a stand-in asks; None where it will not be asked.
            confined: whether the project's own methods run confined too.
        """
        files = self.module == StoredForgery.__module__  # a forgery handed in: there is no code to confine
        if files or (self.facts is None and not confined):
            return self._class()(**self.settings)
        facts = facts_of(self._class()) if self.facts is None else self.facts
        origin = Origin(self.module, self.class_name, json.dumps(self.settings))
        made = stand_in(stand_in_class(self.kind, self.class_name, facts, False), origin, guest)
        return made

    def _class(self) -> type[Method]:
        found: type[Method] = getattr(importlib.import_module(self.module), self.class_name)
        return found


@dataclass(frozen=True)
class Job:
    """One step to run.

    Args:
        kind: the step's kind.
        root: the project's root.
        task: the task.
        attack: the attack to forge with.
        defense: the defense to judge with, or to hand to an adaptive attack.
        mode: of the cell, and so of the forgery.
        seed: of the cell.
        store: the store's folder.
        needs: ids of finished steps, by kind.
        pool: ids of forgeries that are judged together, by the defenses that they were made against.
        out: folder to write tensors or samples into.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        confined: whether the methods run in a process of their own.
        guest_pid: that process, once it is started.
    """

    kind: str
    root: Path
    task: Task
    attack: MethodRef
    defense: MethodRef
    mode: CellMode
    seed: int
    store: Path
    needs: dict[str, str]
    out: Path
    device: str
    confined: bool = False
    guest_pid: int = 0
    pool: dict[str, str] = field(default_factory=dict)

    def members(self) -> list[MethodRef]:
        """The methods whose code the step runs."""
        if self.kind == "score":
            return []
        if self.kind != "forge":
            return [self.defense]
        return [self.attack, *([self.defense] if self.mode == "adaptive" else [])]

    @property
    def culprit(self) -> str:
        """Variant of the method to blame for what cannot be told more exactly; empty where none runs."""
        members = self.members()
        if not members:
            return ""
        strangers = [member.variant for member in members if member.foreign]
        return Company([member.variant for member in members], strangers).culprit(members[0].variant)

    def company_of_stranger(self) -> str:
        """Variant of the project's own attack that is at work against a stranger's defense, or empty."""
        members = self.members()
        return members[0].variant if members and self.culprit != members[0].variant else ""

    def started(self, pid: int) -> Job:
        """The job with its confined process."""
        return replace(self, guest_pid=pid)


@dataclass(frozen=True)
class Answer:
    """How a job ended.

    Args:
        record: is merged into the step's record.
        retire: the method has left its worker in a state that could change what the next one gets.
        damaged: a file of the store that the step reads is not what was written.
        unwritten: why the step's files could not be written, or empty.
    """

    record: dict[str, Any]
    retire: bool = False
    damaged: StoreDamaged | None = None
    unwritten: str = ""
