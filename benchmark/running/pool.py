"""Worker processes with a time and a memory limit per job: a job that breaks one costs its worker only.

Time is the processor's, see :mod:`benchmark.running.clock`.

Processes are forked from a clean server that has torch loaded (``forkserver``; spawned where there is none),
so that a new worker costs a fraction of a second. Workers for methods and workers for scoring are kept apart.
A job that runs a submission gets a confined process of its own, which ends with the job.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any

import psutil

from benchmark.interrupts import uninterrupted
from benchmark.isolation.families import MOST_THREADS, end, family, held, threads
from benchmark.isolation.starting import confinement, launch
from benchmark.isolation.submitted import submission_folder
from benchmark.running.clock import Limits, Stopwatch
from benchmark.running.devices import least_busy
from benchmark.running.jobs import Answer, Job
from benchmark.running.warmup import context
from benchmark.running.worker import main

_POLL_SECONDS = 0.25
"""Between looks at time and memory: answers are heard at once, and each look reads all processes."""
_KILL_SECONDS = 5.0
_LAST_SECONDS = 20.0
"""That a worker may take to answer once its confined process has been stopped."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    trusted: bool
    device: str
    job: Job | None = None
    watch: Stopwatch = field(default_factory=lambda: Stopwatch(0.0, 1, False, 0.0))
    deadline: float = 0.0
    """For the last words of a job whose confined process had to be stopped."""
    memory_bytes: float = 0.0
    guest: BaseProcess | None = None
    verdict: tuple[str, str] | None = None
    """Status and reason of a job whose confined process had to be stopped."""
    served: set[tuple[str, str]] = field(default_factory=set)
    """Kinds of steps and tasks of its jobs: of those it has at hand what they share."""


class Pool:
    """At most ``size`` jobs at once, each in a worker process.

    Args:
        size: jobs at once.
        root: the project's root.
        logs: folder of the workers' logs.
        threads: threads of each worker's tensor operations.
        devices: to which workers are bound, in turn.
    """

    def __init__(
        self, size: int, root: Path, logs: Path, threads: int = 1, devices: Sequence[str] = ("cpu",)
    ) -> None:
        self.size = size
        self._devices = devices
        self._root, self._logs, self._threads = root, logs, threads
        self._workers: list[_Worker] = []
        self._context = context()
        self._started = 0
        self._slowness: float | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            self._end(worker)
        self._workers.clear()

    @property
    def free(self) -> int:
        """How many more jobs could start now."""
        return self.size - sum(worker.job is not None for worker in self._workers)

    def having(self, kind: str, task: str) -> tuple[bool, bool]:
        """Whether a worker that waits, and one at work, has done steps of a kind on a task.

        What such steps share (the negatives, what is asked of the images) each worker makes for itself.
        """
        busy = {worker.job is not None for worker in self._workers if (kind, task) in worker.served}
        return False in busy, True in busy

    def submit(self, job: Job, limits: Limits, trusted: bool) -> None:
        """Starts a job, on the device where fewest are at work; needs a free place."""
        share = job.kind, job.task.id
        busy = [w.device for w in self._workers if w.job is not None]
        device = least_busy(self._devices, busy)
        job = replace(job, device=device)
        idle = [w for w in self._workers if w.job is None and (w.trusted, w.device) == (trusted, device)]
        worker = min(idle, key=lambda w: share not in w.served) if idle else self._start(trusted, device)
        worker.job = job
        worker.served.add(share)
        _, before, _ = _held(worker)
        worker.watch = Stopwatch(limits.seconds, self._threads, job.device != "cpu", before)
        worker.memory_bytes = limits.memory_gb * 2**30
        worker.verdict = None
        with contextlib.suppress(OSError):  # a worker that has died meanwhile is found out by wait()
            if job.confined:
                self._send_with_guest(worker, job)
            else:
                worker.pipe.send(job)

    def _send_with_guest(self, worker: _Worker, job: Job) -> None:
        """Starts a confined process for a job, and hands its pipe to the worker after the job."""
        foreign = [member for member in job.members() if member.foreign]
        folders = {submission_folder(member.file, self._root) for member in foreign}
        scratch = job.out.parent / f"{job.out.name}-scratch"
        how = confinement(
            self._root,
            tuple(sorted(folders)),
            scratch,
            self._log("confined"),
            self._threads,
            worker.memory_bytes / 2**30,
            tuple(member.module for member in job.members() if not member.foreign),
            job.device,
        )
        worker.guest, pipe = launch(self._context, how)
        worker.pipe.send(job.started(worker.guest.pid or 0))
        send_handle(worker.pipe, pipe.fileno(), worker.process.pid)
        pipe.close()

    def _dismiss(self, worker: _Worker) -> None:
        """Ends a worker's confined process, and all that it has started."""
        if worker.guest is not None:
            end(worker.guest)
            worker.guest = None

    def wait(self) -> list[tuple[Job, Answer]]:
        """Jobs that have ended, in a while; those over a limit are stopped."""
        busy = [worker for worker in self._workers if worker.job is not None]
        handles: list[Any] = [w.pipe for w in busy] + [w.process.sentinel for w in busy]
        wait(handles, timeout=_POLL_SECONDS)
        return [ended for worker in busy if (ended := self._check(worker)) is not None]

    def _check(self, worker: _Worker) -> tuple[Job, Answer] | None:
        """The worker's job and answer, if it has ended or has to."""
        job = worker.job
        assert job is not None
        try:
            if worker.pipe.poll():
                answer: Answer | float = worker.pipe.recv()
                if isinstance(answer, float):
                    self._slowness = answer
                    return None
                worker.job = None
                self._dismiss(worker)
                if worker.verdict is not None:
                    answer = _overruled(answer, job, worker)
                if answer.retire:
                    self._end(worker, kill=True)
                    self._workers.remove(worker)
                return job, answer
        except (EOFError, OSError):
            pass
        if not worker.process.is_alive():
            return job, self._replace(worker, "crashed", _exit_text(worker.process.exitcode))
        fault = self._fault(worker)
        if fault is None or (worker.verdict and time.monotonic() < worker.deadline):
            return None
        if worker.guest is not None:  # the worker is told by its pipe's end, and keeps what it has loaded
            worker.verdict, worker.deadline = fault, time.monotonic() + _LAST_SECONDS
            self._dismiss(worker)
            return None
        return job, self._replace(worker, *(worker.verdict or fault))

    def _fault(self, worker: _Worker) -> tuple[str, str] | None:
        """Status and reason, if the worker's job is over a limit."""
        assert worker.job is not None
        memory, processor_time, of_threads = _held(worker)
        other = worker.job.company_of_stranger()
        if worker.watch.over(processor_time, self._slowness or 1.0):
            if other:
                return "timeout", f"{other} could not finish against it within the task's time limit"
            return "timeout", "stopped: over the task's time limit"
        if of_threads > MOST_THREADS:
            return "oom", f"stopped: more than {MOST_THREADS} threads"
        if memory > worker.memory_bytes:
            beside = f" while {other} was at work against it" if other else ""
            return "oom", f"stopped: over the task's memory limit{beside}"
        return None

    def _replace(self, worker: _Worker, status: str, reason: str) -> Answer:
        self._end(worker, kill=True)
        self._workers.remove(worker)
        record = {"status": status, "blame": "method", "reason": reason, "culprit": ""}
        return Answer({**record, "cpu_seconds": worker.watch.used})

    def _start(self, trusted: bool, device: str) -> _Worker:
        here, there = self._context.Pipe()
        log = self._log("worker")
        measures = not self._workers and self._slowness is None
        process = self._context.Process(
            target=main, args=(there, self._root, log, self._threads, measures), daemon=True
        )
        with uninterrupted():
            process.start()
        there.close()
        worker = _Worker(process, here, trusted, device)
        self._workers.append(worker)
        return worker

    def _log(self, who: str) -> Path:
        self._started += 1
        return self._logs / f"{who}-{os.getpid()}-{self._started}.log"

    def _end(self, worker: _Worker, kill: bool = False) -> None:
        worker.pipe.close()
        self._dismiss(worker)
        if kill or worker.job is not None:
            worker.process.kill()
        worker.process.join(_KILL_SECONDS)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _overruled(answer: Answer, job: Job, worker: _Worker) -> Answer:
    """The answer of a worker whose confined process was stopped: it knows no more than that it ended."""
    assert worker.verdict is not None
    status, reason = worker.verdict
    culprit = answer.record.get("culprit") or job.culprit
    record = {**answer.record, "status": status, "blame": "method", "culprit": culprit}
    record["cpu_seconds"] = worker.watch.used
    return Answer({**record, "reason": f"{culprit}: {reason}"}, answer.retire)


def _held(worker: _Worker) -> tuple[int, float, int]:
    """Bytes of memory that count for a worker's job, processor time used by all that serves it, and threads.

    Where there is a confined process the memory and the threads are its own: what the worker holds is the
    harness's.
    """
    processor_time = _processor_time(psutil.Process(worker.process.pid)) if worker.process.is_alive() else 0.0
    if worker.guest is None:
        return _memory(worker.process.pid), processor_time, 0
    members = family(worker.guest.pid or 0)
    used = processor_time + sum(map(_processor_time, members))
    return sum(map(held, members)), used, sum(map(threads, members))


def _processor_time(process: psutil.Process) -> float:
    """Seconds that a process, and those below it that have ended, have computed."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _memory(pid: int | None) -> int:
    try:
        return held(psutil.Process(pid))
    except psutil.Error:
        return 0


def _exit_text(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the worker process was killed by signal {-code}"
    return f"the worker process ended with exit code {code}"
