"""A worker process: runs one job after another, each in its own folder, and never brings the parent down.

Jobs come and answers go through a pipe as plain data; tensors go through files. Whatever a method prints goes
to the worker's log. A worker that runs methods never scores, and one that scores never runs a method.
Of submissions a worker runs no code at all: it asks a confined process that the pool has started for the job.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmark import arithmetic
from benchmark.api import Attack, Detector, Hardening, Method, Repair
from benchmark.errors import PotemkinError, in_a_line
from benchmark.failures import Contradiction, StepFailed, invalid
from benchmark.files.writing import CannotWrite
from benchmark.isolation.host import Guest
from benchmark.methods.calls import is_out_of_memory
from benchmark.methods.meter import Meter, Usage
from benchmark.methods.stored import StoredForgery
from benchmark.running.clock import slowness
from benchmark.running.jobs import Answer, Job, MethodRef
from benchmark.running.store import Store, StoreDamaged, write_samples, write_tensors
from benchmark.tracks import (
    Bench,
    TrackScorer,
    pooling,
    repairs,
    repairs_of,
    scoring_of,
    steps_of,
    workbench_of,
)

_KEPT_BYTES = 2**30
"""Networks and images that a worker keeps ready, besides the task at hand."""
_PARENT_CHECK_SECONDS = 1.0


def main(pipe: Connection, root: Path, log: Path, threads: int, measures: bool = False) -> None:
    """Runs jobs until the pipe closes or the parent is gone.

    Args:
        pipe: to the pool.
        root: the project's root.
        log: takes what is printed.
        threads: of tensor operations.
        measures: whether to tell first how slow the machine is, as a bare number.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever runs the command is told by the command, once
    _redirect(log)
    _die_with_parent()
    torch.set_num_threads(threads)
    if measures:
        pipe.send(slowness())
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    shelf = Shelf()
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        guest = _guest(job, pipe) if job.confined else None
        answer = run_job(job, shelf, guest)
        if guest is not None:
            guest.close()
        try:
            pipe.send(answer)
        except OSError:
            return


class Shelf:
    """The workbenches and scorers that a worker has ready, the most recently used ones."""

    def __init__(self) -> None:
        self._benches: OrderedDict[str, tuple[Bench, dict[bool, TrackScorer]]] = OrderedDict()
        self._checksums: dict[int, int] = {}

    def bench(self, job: Job) -> Bench:
        """The job's task, made ready."""
        return self._get(job)[0]

    def scorer(self, job: Job) -> TrackScorer:
        """The scorer of the job's task, for its kind of defense."""
        bench, scorers = self._get(job)
        mends = job.defense.kind == "repair"
        if mends not in scorers:
            scoring = repairs_of if mends else scoring_of
            scorers[mends] = scoring(job.task.track).make_scorer(bench)
        return scorers[mends]

    def intact(self, bench: Bench) -> bool:
        """Whether the network and the images are those that were loaded."""
        return bench.checksum() == self._checksums[id(bench)]

    def _bytes(self) -> int:
        return sum(bench.bytes() for bench, _ in self._benches.values())

    def _get(self, job: Job) -> tuple[Bench, dict[bool, TrackScorer]]:
        name = job.task.model_dump_json() + job.device
        if name not in self._benches:
            prepare = workbench_of(job.task.track).prepare
            bench = prepare(job.task, job.root, torch.device(job.device))
            self._benches[name] = (bench, {})
            self._checksums[id(bench)] = bench.checksum()
            while len(self._benches) > 1 and self._bytes() > _KEPT_BYTES:
                _, (old, _) = self._benches.popitem(last=False)
                del self._checksums[id(old)]
        self._benches.move_to_end(name)
        return self._benches[name]


def _guest(job: Job, pipe: Connection) -> Guest:
    """The confined process whose pipe the pool sends after the job."""
    members = job.members()
    return Guest(
        pipe=Connection(recv_handle(pipe)),
        pid=job.guest_pid,
        strangers=frozenset(member.variant for member in members if member.foreign),
        members=frozenset(member.variant for member in members),
        device=torch.device(job.device),
    )


def run_job(job: Job, shelf: Shelf, guest: Guest | None = None) -> Answer:
    """Runs a job; every failure becomes an answer."""
    arithmetic.settle(job.device)
    _bind(job.device)
    meter, usage = Meter(), Usage(torch.device(job.device))
    started, computed = time.perf_counter(), time.process_time()
    surroundings, bench = _surroundings(), None
    damaged, unwritten = None, ""
    try:
        bench = shelf.bench(job)
        with usage:
            extra = _run(job, bench, shelf, meter, guest)
        outcome = {"status": "ok", "blame": "", "reason": "", "culprit": "", **extra}
    except StepFailed as found:
        failure = found if guest is None else guest.attributed(found)
        outcome = {
            "status": failure.status,
            "blame": failure.blame,
            "reason": failure.reason,
            "culprit": failure.culprit,
        }
    except StoreDamaged as damage:
        outcome, damaged = _of_machine(damage.reason), damage
    except CannotWrite as error:
        outcome, unwritten = _of_machine(str(error)), str(error)
    except PotemkinError as error:
        outcome = {"status": "invalid", "blame": "task", "reason": str(error), "culprit": ""}
    except Exception as error:
        outcome = _infrastructure(error)
    _release(job.device)
    intact = job.kind == "score" or bench is None or shelf.intact(bench)
    if not intact and outcome["status"] == "ok":
        reason = "changed the network or the data in place"
        outcome = {"status": "invalid", "blame": "method", "reason": reason, "culprit": ""}
    confined = {} if guest is None else _about(guest)
    return Answer(
        {
            **outcome,
            **meter.counts(),
            "seconds": usage.seconds,
            "memory_mb": usage.memory_mb,
            **confined,
            "cpu_seconds": time.process_time() - computed + (guest.processor_time() if guest else 0.0),
            "total_seconds": time.perf_counter() - started,
        },
        retire=not intact or _surroundings() != surroundings,
        damaged=damaged,
        unwritten=unwritten,
    )


def _about(guest: Guest) -> dict[str, Any]:
    """What a record keeps of a confined process."""
    return {
        "containment": guest.containment,
        "containment_seconds": guest.overhead,
        **({"memory_mb": peak} if (peak := guest.peak_mb()) else {}),
    }


def _surroundings() -> tuple[Any, ...]:
    """Settings of the process that a method can leave changed."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.enabled,
        torch.backends.cudnn.allow_tf32,
        torch.get_float32_matmul_precision(),
        os.getcwd(),
        dict(os.environ),
        list(sys.path),
        signal.getsignal(signal.SIGTERM),
        signal.getsignal(signal.SIGINT),
    )


def _run(job: Job, bench: Bench, shelf: Shelf, meter: Meter, guest: Guest | None) -> dict[str, Any]:
    """The step's own work; what it stores lies in ``job.out``."""
    store = Store(job.store)
    if job.kind == "score":
        scorer = shelf.scorer(job)
        write_samples(job.out, _score(job, scorer, store))
        return {"weights": scorer.weights()}
    write_tensors(job.out, _tensors(job, bench, store, meter, guest))
    return {}


def _tensors(job: Job, bench: Bench, store: Store, meter: Meter, guest: Guest | None) -> dict[str, Tensor]:
    """What a step that runs methods makes."""
    defense = _create(job.defense, guest)
    if isinstance(defense, Repair):
        return _of_repair(job, bench, defense, store, meter, guest)
    assert isinstance(defense, Hardening | Detector)
    steps = steps_of(job.task.track)
    if job.kind == "forge":
        attack = _attack(job, guest)
        assert job.mode != "transfer"
        with _blamed_on_its_file(attack):
            return steps.forge(bench, attack, defense, job.mode, job.seed, meter)
    if job.kind == "reference":
        return steps.reference(bench, defense, job.seed, meter)
    if job.pool:
        made = {name: store.tensors("forge", forge) for name, forge in job.pool.items()}
        judged = {name: steps.judge(bench, defense, one, job.seed, meter) for name, one in made.items()}
        return pooling.stacked(judged)
    return steps.judge(bench, defense, store.tensors("forge", job.needs["forge"]), job.seed, meter)


def _of_repair(
    job: Job, bench: Any, repair: Repair, store: Store, meter: Meter, guest: Guest | None
) -> dict[str, Tensor]:
    """The same where the defense is a repair."""
    if job.kind == "forge":
        attack = _attack(job, guest)
        with _blamed_on_its_file(attack):
            if job.mode == "adaptive":
                return repairs.forge(bench, attack, repair, job.seed, meter)
            return steps_of(job.task.track).forge(bench, attack, None, "oblivious", job.seed, meter)
    if job.kind == "reference":
        return repairs.reference(bench, repair, job.seed, meter)
    return repairs.judge(bench, repair, store.tensors("forge", job.needs["forge"]), job.seed, meter)


def _attack(job: Job, guest: Guest | None) -> Attack:
    attack = _create(job.attack, guest)
    assert isinstance(attack, Attack)
    return attack


@contextlib.contextmanager
def _blamed_on_its_file(attack: Attack) -> Iterator[None]:
    """Whatever a forgery that is a file makes of the step is the file's fault: none of its code runs."""
    try:
        yield
    except (StepFailed, PotemkinError):
        raise
    except Exception as error:
        if not isinstance(attack, StoredForgery) or is_out_of_memory(error):
            raise
        reason = f"{attack.variant}: its file cannot be used ({type(error).__name__})"
        raise StepFailed("invalid", "method", reason, attack.variant) from error


def _score(job: Job, scorer: TrackScorer, store: Store) -> dict[str, list[Any]]:
    reference, judged = (store.tensors(kind, job.needs[kind]) for kind in ("reference", "judge"))
    if job.pool:
        made = {name: store.tensors("forge", forge) for name, forge in job.pool.items()}
        return scorer.pooled(made, reference, pooling.unstacked(judged), job.seed)
    forgery = store.tensors("forge", job.needs["forge"])
    try:
        return scorer.score(forgery, reference, judged, job.seed)
    except Contradiction as found:
        raise invalid(job.defense.variant, str(found)) from found


def _create(ref: MethodRef, guest: Guest | None) -> Method:
    try:
        return ref.create(guest, confined=guest is not None)
    except Exception as error:
        name = f"{ref.module}.{ref.class_name}"
        raise StepFailed("crashed", "method", f"{type(error).__name__}: {error}", name) from error


def _of_machine(reason: str) -> dict[str, Any]:
    return {"status": "infra", "blame": "infra", "reason": reason, "culprit": ""}


def _infrastructure(error: Exception) -> dict[str, Any]:
    status = "oom" if is_out_of_memory(error) else "infra"
    text = in_a_line(f"{type(error).__name__}: {error}", 300)
    import traceback

    traceback.print_exc()
    return {"status": status, "blame": "infra", "reason": text, "culprit": ""}


def _bind(device: str) -> None:
    """Makes a device the one that is meant where code says ``cuda`` and no number."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)


def _release(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def _redirect(log: Path) -> None:
    """Standard output and error go to a file: a method's prints are nobody's result."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:  # a full disk is told by whoever writes results
        descriptor = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)


def _die_with_parent() -> None:
    """Ends the worker soon after its parent is gone, whatever it is doing."""
    parent = parent_process()

    def watch() -> None:
        while parent is not None and parent.is_alive():
            time.sleep(_PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
