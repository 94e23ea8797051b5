"""Asks confined processes things; what comes back is checked before anyone believes it.

How they are started: :mod:`benchmark.isolation.starting`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

import psutil
import torch

from benchmark.failures import Status, StepFailed, printable
from benchmark.isolation import parcel
from benchmark.isolation.attempts import Attempts
from benchmark.isolation.blame import Company
from benchmark.isolation.families import MOST_THREADS, family, held, peak_mb, threads
from benchmark.methods.meter import Meter

_HEADER_BYTES = 2**20
_ANSWER_BYTES = 2**28
_NOTICED = ("seconds", "overwritten", "replaced", "drew", "left")
"""Fields of a header that are kept of every question; whatever else a process says is forgotten."""
_STATUSES = ("ok", "skipped", "invalid", "oom", "crashed")
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.1
"""How often is looked at what a process holds, where nobody else does."""
_NO_ANSWER = "sent what is no answer"


@dataclass(frozen=True)
class Patience:
    """How long an answer is waited for, and what the process may hold meanwhile.

    Args:
        seconds: that it may take.
        memory_gb: that the process may hold; None where that is not looked at.
    """

    seconds: float
    memory_gb: float | None = None


@dataclass
class Guest:
    """A confined process, to ask.

    Args:
        pipe: to it.
        pid: its process id.
        strangers: variants of the methods in it that are not the project's own.
        members: variants of all methods in it.
        device: where answers' tensors go.
        containment: what is in force.
        overhead: seconds that starting, packing and crossing took, less what the process says it worked.
        noticed: for every question what was noticed in it, as the process tells.
        patience: for whoever is not watched over by somebody else; None waits without end.
    """

    pipe: Connection
    pid: int
    strangers: frozenset[str]
    members: frozenset[str]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    containment: str = ""
    overhead: float = 0.0
    noticed: list[dict[str, Any]] = field(default_factory=list)
    patience: Patience | None = None
    _ended: tuple[Status, str] | None = None
    _attempts: Attempts | None = None
    _met: list[str] = field(default_factory=list)

    def greet(self) -> None:
        """Waits until the process is confined."""
        started = time.perf_counter()
        try:
            if not self.pipe.poll(_START_SECONDS):
                raise StepFailed("infra", "infra", "a confined process did not start")
            self._attempts = Attempts(recv_handle(self.pipe))
            if not self.pipe.poll(_START_SECONDS):
                raise StepFailed("infra", "infra", "a confined process did not start")
            answer = json.loads(self.pipe.recv_bytes(_HEADER_BYTES))
        except (EOFError, OSError, ValueError, RuntimeError) as error:
            answer = {"failed": f"it ended with {type(error).__name__}"}
        if "containment" not in answer:
            reason = f"a confined process could not be started: {answer.get('failed')}"
            raise StepFailed("infra", "infra", reason)
        self.containment = str(answer["containment"])
        self.overhead += time.perf_counter() - started

    def ask(self, variant: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns in there: tensors, plain values, lists, and dicts for dataclasses.

        Args:
            variant: the method that is asked, to blame for what goes wrong.
            function: of a module of the harness.
            arguments: anything importable.

        Raises:
            StepFailed: blamed on the method.
        """
        if not self.containment:
            self.greet()
        variant = self._accountable(variant)
        started = time.perf_counter()
        question = parcel.pack((torch.is_grad_enabled(), function, arguments))
        with self._patient(variant):
            header, value, tensors = self._exchange(variant, question)
        if question.meter is not None:
            parcel.add_counts(question.meter, header.pop("counts", None))
            self._check_limit(variant, question.meter)
        took = time.perf_counter() - started
        header["seconds"] = worked = _seconds(header.get("seconds"), took)
        self.overhead += took - worked
        self.noticed.append({name: _short(header[name]) for name in _NOTICED if name in header})
        self._judge(variant, header)
        try:
            return parcel.decode(value, tensors, self.device)
        except Exception as error:  # whatever a parser makes of a stranger's bytes
            raise self._company.failure("invalid", variant, _NO_ANSWER) from error

    @property
    def _company(self) -> Company:
        return Company(self.members, self.strangers)

    def _accountable(self, asked: str) -> str:
        """Who answers for the process while a method is asked: the stranger that came into it last.

        What a stranger has left running can do harm while another one is asked.
        """
        if asked in self.strangers and asked not in self._met:
            self._met.append(asked)
        return self._met[-1] if asked in self.strangers else asked

    def attributed(self, failure: StepFailed) -> StepFailed:
        """A failure that the harness has found in what came back, put on whoever is to blame."""
        if failure.blame != "method" or failure.culprit in self.strangers or not self.strangers:
            return failure
        reason = failure.reason.removeprefix(f"{failure.culprit}: ")
        return self._company.failure(failure.status, failure.culprit, reason)

    @contextlib.contextmanager
    def _patient(self, variant: str) -> Iterator[None]:
        """Ends the process when patience ends, whatever is being waited for."""
        if self.patience is None:
            yield
            return
        answered = threading.Event()
        watch = threading.Thread(target=self._watch, args=(self.patience, answered), daemon=True)
        watch.start()
        try:
            yield
        except StepFailed:
            if self._ended is not None:
                raise self._company.failure(self._ended[0], variant, self._ended[1]) from None
            raise
        finally:
            answered.set()
            watch.join()

    def _watch(self, patience: Patience, answered: threading.Event) -> None:
        """Ends the process once it is over a limit."""
        until = time.monotonic() + patience.seconds
        while not answered.wait(max(0.0, min(_LOOK_SECONDS, until - time.monotonic()))):
            if (fault := self._fault(patience, until)) is not None:
                self._ended = fault
                self._end()
                return

    def _fault(self, patience: Patience, until: float) -> tuple[Status, str] | None:
        if time.monotonic() >= until:
            return "timeout", f"took more than {patience.seconds:g} s"
        members = family(self.pid)
        if sum(threads(process) for process in members) > MOST_THREADS:
            return "oom", f"stopped: more than {MOST_THREADS} threads"
        if patience.memory_gb is not None and sum(map(held, members)) > patience.memory_gb * 2**30:
            return "oom", f"stopped: more than {patience.memory_gb:g} GB of memory"
        return None

    def _end(self) -> None:
        for process in reversed(family(self.pid)):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def _judge(self, variant: str, header: dict[str, Any]) -> None:
        """Raises what the answer says went wrong, or what was noticed."""
        replaced = _texts(header.get("replaced"))
        claimed = header.get("culprit")
        self._judge_attempts(variant, claimed, answered=True)
        blamed = functools.partial(self._company.failure, asked=variant, claimed=claimed)
        if replaced:
            more = f" and {len(replaced) - 1} more" if len(replaced) > 1 else ""
            reason = f"replaced {replaced[0]}{more}: a method must leave the harness as it is"
            raise blamed("invalid", reason=reason)
        status = header.get("status")
        if status not in _STATUSES:
            raise blamed("invalid", reason=_NO_ANSWER)
        if status != "ok":
            raise blamed(status, reason=printable(header.get("reason")))
        if header.get("overwritten"):
            raise blamed("invalid", reason="changed the network or the data in place")

    def _judge_attempts(self, variant: str, claimed: object = None, *, answered: bool) -> None:
        """Raises what has been told of attempts; whoever has answered must be able to tell more."""
        if self._attempts is None:  # it was never greeted, and has told of nothing
            return
        told, open_still = self._attempts.read()
        if told:
            reason = told[0].strip() or "wrote to the channel that attempts are told over"
            raise self._company.failure("invalid", variant, reason, claimed)
        if answered and not open_still:
            reason = "closed the channel that attempts are told over, which a method must leave"
            raise self._company.failure("invalid", variant, reason, claimed)

    def _check_limit(self, variant: str, meter: Meter) -> None:
        """The limit holds inside already, for whoever does not go around it."""
        limit = meter.explanation_limit
        if limit is not None and meter.explanations > limit * meter.samples:
            reason = f"asked for more than {limit} explanations per sample"
            raise self._company.failure("invalid", variant, reason)

    def _exchange(self, variant: str, question: parcel.Question) -> tuple[dict[str, Any], bytes, bytes]:
        """Sends a question; header, result and tensors of the answer."""
        try:
            self.pipe.send_bytes(question.frame)
            self.pipe.send_bytes(question.tensors)
            header = json.loads(self.pipe.recv_bytes(_HEADER_BYTES))
            value, tensors = self.pipe.recv_bytes(_ANSWER_BYTES), self.pipe.recv_bytes(_ANSWER_BYTES)
        except EOFError as error:
            self._judge_attempts(variant, answered=False)
            reason = "ended its process before it returned"
            raise self._company.failure("crashed", variant, reason) from error
        except OSError as error:
            self._judge_attempts(variant, answered=False)
            reason = f"returned more than {_ANSWER_BYTES // 2**20} MB, or ended its process meanwhile"
            raise self._company.failure("crashed", variant, reason) from error
        except (ValueError, RecursionError, MemoryError, OverflowError) as error:
            raise self._company.failure("invalid", variant, _NO_ANSWER) from error
        if not isinstance(header, dict):
            raise self._company.failure("invalid", variant, _NO_ANSWER)
        return header, value, tensors

    def peak_mb(self) -> float:
        """Peak memory of the process and those below it (Linux; elsewhere what they have now)."""
        return max((peak_mb(process) for process in family(self.pid)), default=0.0)

    def processor_time(self) -> float:
        """Seconds that the process and those below it have computed."""
        total = 0.0
        for process in family(self.pid):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def close(self) -> None:
        """Gives up the pipe, which ends the process."""
        self.pipe.close()
        if self._attempts is not None:
            self._attempts.close()


def _short(value: object) -> Any:
    """What is kept of a field of a header: a number, or a few names on a line each."""
    return value if isinstance(value, bool | float | None) else _texts(value)


def _texts(value: object) -> list[str]:
    """Names that a process tells; a few of them, on a line each."""
    return (
        [printable(item) for item in value[:20] if isinstance(item, str)] if isinstance(value, list) else []
    )


def _seconds(value: object, most: float) -> float:
    """Seconds that a process says it worked: no fewer than none, and no more than have passed."""
    if not isinstance(value, float) or not math.isfinite(value):
        return 0.0
    return min(max(value, 0.0), most)
