"""Starts confined processes and asks them things; what comes back is checked before anyone believes it.

A process is started by whoever may start processes, and asked by whoever holds its pipe: those are two, since
the workers that hold the data start none.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch

from benchmark.failures import StepFailed, printable
from benchmark.files.assets import MARKER
from benchmark.interrupts import uninterrupted
from benchmark.isolation import inside, kernel, parcel
from benchmark.isolation.attempts import Attempts
from benchmark.isolation.blame import Company
from benchmark.methods.meter import Meter

_HEADER_BYTES = 2**20
_ANSWER_BYTES = 2**28
_NOTICED = ("seconds", "overwritten", "replaced", "drew", "left")
"""Fields of a header that are kept of every question; whatever else a process says is forgotten."""
_STATUSES = ("ok", "skipped", "invalid", "oom", "crashed")
_CODE = ("benchmark", "baselines")
_START_SECONDS, _LAST_SECONDS = 60.0, 1.0
_NO_ANSWER = "sent what is no answer"


def confinement(
    root: Path,
    methods: tuple[Path, ...],
    scratch: Path,
    log: Path,
    threads: int,
    memory_gb: float,
    modules: tuple[str, ...] = (),
) -> inside.Confinement:
    """How a process for a submission is confined.

    Args:
        root: the project's root, of which nothing is seen but code.
        methods: folders of the submissions, which are seen.
        scratch: folder of its own.
        log: what it prints goes there.
        threads: of tensor operations.
        memory_gb: that it may take beyond what it starts with.
        modules: of the project's own methods that will be in it.
    """
    python = {Path(p).resolve() for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    paths = {Path(entry).resolve() for entry in sys.path if entry}
    # The package can have been installed from another folder of the project than the one at hand.
    projects = {root, *(path for path in paths if (path / MARKER).is_file())}
    own = [project / name for project in sorted(projects) for name in _CODE] + list(methods)
    installed = {path for path in python | paths if path.exists() and not _leads_to(path, projects)}
    devices = tuple(sorted(Path("/dev").glob("nvidia*")))
    view = kernel.View((*own, *sorted(installed)), tuple(sorted(projects)), scratch, devices=devices)
    return inside.Confinement(root, view, log, threads, namespaces_work(), memory_gb, modules)


def _leads_to(path: Path, projects: set[Path]) -> bool:
    return any(project.is_relative_to(path) for project in projects)


@functools.cache
def namespaces_work() -> bool:
    """Whether this machine lets a process move into namespaces of its own; found out by trying, once."""
    if not sys.platform.startswith("linux"):
        return False
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                kernel.enter_namespaces(kernel.View((), (), Path(folder)), _end_as)
                os._exit(0)
            os._exit(1)
        return os.waitpid(child, 0)[1] == 0


def _end_as(child: int) -> NoReturn:
    os._exit(os.waitpid(child, 0)[1] != 0)


def launch(context: Any, how: inside.Confinement) -> tuple[BaseProcess, Connection]:
    """A confined process, and this side of its pipe."""
    here, there = context.Pipe()
    process: BaseProcess = context.Process(target=inside.main, args=(there, how), daemon=True)
    with uninterrupted():
        process.start()
    there.close()
    return process, here


@dataclass(frozen=True)
class Patience:
    """How long an answer is waited for."""

    seconds: float


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
    _ended: bool = False
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
        timer = threading.Timer(self.patience.seconds, self._end)
        timer.start()
        try:
            yield
        except StepFailed:
            if self._ended:
                reason = f"took more than {self.patience.seconds:g} s"
                raise self._company.failure("timeout", variant, reason) from None
            raise
        finally:
            timer.cancel()

    def _end(self) -> None:
        self._ended = True
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
        return max((_peak_mb(process) for process in family(self.pid)), default=0.0)

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


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def end(process: BaseProcess) -> None:
    """Ends a confined process and all below it.

    Those below go first, so that the one that waits for them sees them off: where nobody does, as in many
    containers, the dead would pile up.
    """
    below = family(process.pid or 0)[1:]
    for member in below:
        with contextlib.suppress(psutil.Error):
            member.kill()
    if below:
        process.join(_LAST_SECONDS)
    process.kill()
    process.join()


def _peak_mb(process: psutil.Process) -> float:
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss) / 2**20
    return 0.0


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


def _own_context() -> Any:
    fork = "fork" in multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("fork" if fork else "spawn")


@contextlib.contextmanager
def confined(
    root: Path,
    methods: tuple[Path, ...],
    seconds: float,
    memory_gb: float,
    variants: frozenset[str] = frozenset(),
    context: Any = None,
) -> Iterator[Guest]:
    """A guest for the length of a ``with`` block.

    Args:
        root: the project's root.
        methods: folders of the submissions that are to be seen.
        seconds: that a question may take.
        memory_gb: that the process may take.
        variants: of the methods that will be in it.
        context: how its process is started; by default it is forked from this one, which takes no time and
            gives it all that this one has in memory: not for a process that has loaded images.
    """
    with tempfile.TemporaryDirectory(prefix="potemkin-") as folder:
        # Resolved: the folder for temporary files can be a link, and what is compared are paths.
        own = Path(folder).resolve()
        how = confinement(root, methods, own / "scratch", own / "log", 1, memory_gb)
        process, pipe = launch(context or _own_context(), how)
        guest = Guest(pipe, process.pid or 0, variants, variants, patience=Patience(seconds))
        try:
            yield guest
        finally:
            guest.close()
            end(process)
