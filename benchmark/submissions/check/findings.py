"""A finding is one sentence with its fix; what was refused comes first, and decides.

Whatever a step of the harness raises about a method reads here as it will read on its cells, with the fix.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Literal

from benchmark.failures import StepFailed

Level = Literal["refused", "remark"]
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")

_MORE_TIME = "end the loop or take fewer steps; a method that needs longer is checked with --seconds 600"
_FIXES = (
    ("took more than", " s", _MORE_TIME),
    ("took more than", " GB", "work on smaller parts, and let go of what is done"),
    ("out of memory", "", "work on smaller parts, and let go of what is done"),
    ("exceed the L-inf budget", "", "end with `return Forgery(case.project(inputs))`"),
    ("outside [0, 1]", "", "end with `return Forgery(case.project(inputs))`"),
    ("NaN or infinite", "", "guard the division, root or logarithm that they come from"),
    ("have shape", "", "return one for every sample, in the order and shape that were asked for"),
    ("changed the architecture", "", "return every tensor of model.module.state_dict() by its own name"),
    ("have type", "", "return every tensor of model.module.state_dict() in its own type"),
    ("in place", "", "clone what is handed over, and train `case.model.trainable_copy()`"),
    ("returned more than", "", "return what was asked for and nothing else"),
    ("File too large", "", "keep less than 256 MB in the scratch folder"),
    ("No space left", "", "keep less than 256 MB in the scratch folder"),
    ("start new thread", "", "start a handful of threads at most, and wait for them"),
    ("stopped: more than", " threads", "start a handful of threads at most, and wait for them"),
    ("stopped: more than", " GB of memory", "work on smaller parts, and let go of what is done"),
    ("PermissionError", "", "methods start and end no processes, and reach no files but their own"),
    ("called exit(", "", "return what was asked for, or raise an error that says what is wrong"),
    ("ended its process", "", "return what was asked for, or raise an error that says what is wrong"),
    ("is no tensor, number or text", "", "return plain tensors"),
    (
        "gave back the clean network",
        "",
        "keep nothing between calls, and give back what comes of what was handed in",
    ),
    ("does not require grad", "", "ask `case.explain(inputs, smoothing=Gate(30.0))`, exact maps have none"),
    ("must return", "", "docs/methods.md shows what is returned on each track"),
    ("must be a tensor", "", "return a torch.Tensor"),
    ("more than", "explanations per sample", "ask for fewer explanations, `case.budget` says how many"),
)
_BUSY = 2.0
"""Load per core from which on the machine and not the method may be what is slow."""
_TOLD = (
    "methods have no network",
    "methods may start threads only",
    "a method",
    "keep numbers in safetensors",
)
"""What is in sentences that say themselves what to do."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        level: ``refused`` decides, ``remark`` does not.
        sentence: what is wrong and what to do.
        about: the method and the track, where it is about one.
    """

    level: Level
    sentence: str
    about: str = ""


@dataclass
class Report:
    """All that was found about one submission.

    Args:
        name: the submission's folder or file.
        findings: in the order in which they were found.
        tried: what was tried, a line each.
        costs: what it took, and what suites would take, a line each.
        seconds: that the check took.
        untried: variants that there was no time for.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    costs: list[str] = field(default_factory=list)
    seconds: float = 0.0
    untried: list[str] = field(default_factory=list)
    _failures: set[tuple[str, str, str]] = field(default_factory=set)

    def refuse(self, sentence: str, about: str = "") -> None:
        """Notes a fault that has to be mended."""
        self._note(Finding("refused", sentence, about))

    def remark(self, sentence: str, about: str = "") -> None:
        """Notes what is worth knowing."""
        self._note(Finding("remark", sentence, about))

    def failed(self, failure: StepFailed, about: str, when: str = "") -> None:
        """Notes how a step failed: the same failure once, however many questions meet it."""
        kind = (about, failure.status, _NUMBER.sub("#", failure.reason))
        if kind in self._failures:
            return
        self._failures.add(kind)
        if failure.status == "skipped":
            self.remark(f"does not apply to the tiny task: {failure.reason}; nothing was tried there", about)
        else:
            self.refuse(sentence_of(failure, when) + busy(failure.reason), about)

    def _note(self, finding: Finding) -> None:
        if finding not in self.findings:
            self.findings.append(finding)

    @property
    def refusals(self) -> int:
        """How many findings stand against the submission."""
        return sum(finding.level == "refused" for finding in self.findings)

    @property
    def accepted(self) -> bool:
        """Whether none does, and all variants were tried."""
        return self.refusals == 0 and not self.untried

    @property
    def verdict(self) -> str:
        """``accepted``, or ``not accepted`` and why."""
        if self.accepted:
            return "accepted"
        if not self.refusals:
            return (
                f"not accepted: {len(self.untried)} variant{'s' if len(self.untried) > 1 else ''} not tried"
            )
        return f"not accepted: {self.refusals} finding{'s' if self.refusals > 1 else ''}"

    def lines(self) -> list[str]:
        """All of it for a terminal: the verdict last."""
        ordered = sorted(self.findings, key=lambda finding: finding.level != "refused")
        shown = [("tried", "", line) for line in self.tried]
        shown += [(f.level, f.about, f.sentence) for f in ordered]
        shown += [("remark", "", self._not_tried())] if self.untried else []
        shown += [("cost", "", line) for line in self.costs]
        return [
            *(f"{word:8} {about + ': ' if about else ''}{text}" for word, about, text in shown),
            f"{self.name}: {self.verdict} ({self.seconds:.0f} s)",
        ]

    def _not_tried(self) -> str:
        """All that there was no time for, in a line."""
        first = self.untried[0]
        if len(self.untried) == 1:
            return f"{first} was not tried, since the time is up: give --seconds 600"
        return (
            f"{len(self.untried)} variants were not tried, the first of them {first}, since the time is up: "
            "give --seconds 600, or fewer settings"
        )


def sentence_of(failure: StepFailed, when: str = "") -> str:
    """What went wrong, and the fix."""
    reason = failure.reason.removeprefix(f"{failure.culprit}: ")
    fix = fix_of(reason)
    where = f"{when}: " if when else ""
    return f"{where}{reason}; {fix}" if fix else f"{where}{reason}"


def busy(reason: str) -> str:
    """What to add to a reason of time where the machine has more to do than it can."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if "took more than" not in reason or load <= _BUSY * cores:
        return ""
    return f" (of the clock, at a load of {load:.0f} on {cores} cores: check it again when less else runs)"


def fix_of(reason: str) -> str:
    """What to do about a reason; nothing for reasons that say so themselves."""
    if any(words in reason for words in _TOLD):
        return ""
    for first, second, fix in _FIXES:
        if first in reason and second in reason:
            return fix
    return "mend what raises it"
