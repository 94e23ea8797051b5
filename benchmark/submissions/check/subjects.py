"""A submitted variant is only ever asked in confined processes, and what is noticed there is told."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmark.failures import StepFailed, printable
from benchmark.isolation.families import end
from benchmark.isolation.host import Guest, Patience
from benchmark.isolation.stand_ins import Origin, StandIn, stand_in
from benchmark.isolation.starting import confinement, launch
from benchmark.isolation.submitted import Offer, submission_folder
from benchmark.methods.variants import kind_of_method
from benchmark.running.warmup import context
from benchmark.submissions.check.findings import Report

Result = TypeVar("Result")

MEMORY_GB = 4.0
"""What a method may take on a tiny task."""
_LEAST_SHARE, _MOST_SHARE = 0.25, 0.5
"""Of the check's time, what a first question may take."""
_LEAST_SECONDS = 1.0
_SLOWER = 3.0
"""By how much a question may take longer than the same before, on a machine that others use too."""


@dataclass(frozen=True)
class Clock:
    """The time that a check may take.

    Args:
        seconds: in all.
    """

    seconds: float
    _started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self._started)

    def patience(self, known: bool) -> float:
        """Whole seconds that the next question may take.

        Args:
            known: whether the like was asked before; a first question leaves time for others, and has some
                also where starting has taken most of it.
        """
        if known:
            return float(round(max(_LEAST_SECONDS, self.left)))
        most = min(self.left, _MOST_SHARE * self.seconds)
        return float(round(max(_LEAST_SECONDS, _LEAST_SHARE * self.seconds, most)))


@dataclass(frozen=True)
class Subject:
    """One variant of a submitted method under check.

    Args:
        root: the project's root.
        file: that defines it.
        offer: what is known of it.
        report: where findings go.
        clock: of the check.
        thorough: whether everything is tried; of other variants of the same method one answer is enough.
        progress: is told what is being tried.
    """

    root: Path
    file: Path
    offer: Offer
    report: Report
    clock: Clock
    thorough: bool = True
    progress: Callable[[str], None] = lambda stage: None

    @property
    def variant(self) -> str:
        """Its name with settings."""
        return self.offer.variant

    @property
    def kind(self) -> str:
        """One of :data:`benchmark.methods.variants.KINDS`."""
        return kind_of_method(self.offer.method)

    @property
    def origin(self) -> Origin:
        """Where it is."""
        module = ".".join(self.file.relative_to(self.root).with_suffix("").parts)
        return Origin(module, self.offer.class_name, json.dumps(self.offer.settings))

    @contextlib.contextmanager
    def session(self, track: str) -> Iterator[Session]:
        """A fresh confined process with the method in it; tells at the end what was noticed."""
        variants = frozenset({self.variant})
        with tempfile.TemporaryDirectory(prefix="potemkin-") as folder:
            # Resolved: the folder for temporary files can be a link, and what is compared are paths.
            own = Path(folder).resolve()
            folders = (submission_folder(self.file, self.root),)
            how = confinement(self.root, folders, own / "scratch", own / "log", 1, MEMORY_GB)
            process, pipe = launch(context(), how)
            guest = Guest(pipe, process.pid or 0, variants, variants)
            session = Session(self, guest, stand_in(self.offer.method, self.origin, guest), track)
            try:
                yield session
            finally:
                session.peak_mb = max(session.peak_mb, guest.peak_mb())
                guest.close()
                end(process)
                session.tell(own / "log")


@dataclass
class Session:
    """A confined process with a method in it.

    Args:
        subject: whose.
        guest: the process.
        method: stands in for the method.
        track: of the task at hand.
        peak_mb: the most memory that it had.
        seconds: that each question took in there.
        over: whether the process has been ended, by itself or by the clock: there is nobody left to ask.
    """

    subject: Subject
    guest: Guest
    method: StandIn
    track: str
    peak_mb: float = 0.0
    seconds: list[float] = field(default_factory=list)
    over: bool = False

    @property
    def about(self) -> str:
        """The method and the track."""
        return f"{self.subject.variant} on {self.track}"

    def attempt(
        self, question: Callable[[StandIn], Result], when: str = "", expected: float = 0.0
    ) -> Result | None:
        """The answer; None where there is none, which is then among the findings.

        Args:
            question: asks the method.
            when: the circumstances, for the finding.
            expected: seconds that the like took before, if it was asked before.
        """
        if self.over:
            return None
        clock, report = self.subject.clock, self.subject.report
        self.subject.progress(f"{self.about} {when}".strip())
        patience = clock.patience(known=expected > 0)
        if patience < expected:
            report.remark(_untried(when, expected), self.about)
            return None
        self.guest.patience = Patience(patience)
        before = len(self.guest.noticed)
        try:
            return question(self.method)
        except StepFailed as failure:
            self.over = failure.status == "timeout" or "ended its process" in failure.reason
            if failure.status == "timeout" and patience < _SLOWER * expected:
                report.remark(_untried(when, expected), self.about)
            else:
                report.failed(failure, self.about, when)
            return None
        finally:
            asked = [header.get("seconds") for header in self.guest.noticed[before:]]
            self.seconds.append(sum(seconds for seconds in asked if isinstance(seconds, float)))
            self.peak_mb = max(self.peak_mb, self.guest.peak_mb())

    def tell(self, log: Path) -> None:
        """Findings about what the method left changed, drew and printed."""
        report = self.subject.report
        for name in self._named("left"):
            report.refuse(f"leaves {name} changed: put it back as it was before returning", self.about)
        for name in self._named("drew"):
            own = "case.generator" if self.subject.kind == "attack" else "a generator of your own"
            report.refuse(f"draws from {name}, or sets it: draw from {own}", self.about)
        printed = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
        if printed:
            line = printable(printed[:1000].splitlines()[0], 60) or "nothing that can be shown"
            report.remark(f"prints ({line!r}), which nobody will see: remove it", self.about)

    def _named(self, what: str) -> list[str]:
        found: list[str] = []
        for header in self.guest.noticed:
            names = header.get(what)
            found += [printable(name, 100) for name in names[:20]] if isinstance(names, list) else []
        return list(dict.fromkeys(found))


def _untried(when: str, expected: float) -> str:
    return (
        f"was not tried {when or 'further'}, since the time is up and this takes {expected:.2g} s: "
        "check it with --seconds 600"
    )
