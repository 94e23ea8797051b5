"""A confined process: puts itself in chains, then answers questions until it is ended.

Whatever a method does in here, what leaves is data: a verdict, a result, and what was noticed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any

import torch

from benchmark import arithmetic
from benchmark.errors import PotemkinError
from benchmark.failures import StepFailed, invalid
from benchmark.isolation import bare, kernel, landlock, libc, parcel, watch
from benchmark.isolation.attempts import Teller, teller
from benchmark.isolation.filter import filter_calls
from benchmark.isolation.parts import Parts
from benchmark.isolation.states import changed, checksum, random_states, settings_of_process
from benchmark.isolation.warden import Warden
from benchmark.methods.calls import is_out_of_memory
from benchmark.methods.traces import with_place

_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
_NAMES = 20
"""Of what was replaced so many names are told."""
_ON_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True)
class Confinement:
    """How a process is confined.

    Args:
        root: the project's root.
        view: what is seen of the files.
        log: file that takes what is printed.
        threads: of tensor operations.
        namespaces: whether the machine has been found to offer them.
        memory_gb: that may be taken beyond what the process starts with.
        modules: of the project's own methods in it, imported before any other's can meddle with them.
        file_mb: what one file may hold.
        device: ``cpu`` or ``cuda``: whether a GPU is at hand.
    """

    root: Path
    view: kernel.View
    log: Path
    threads: int
    namespaces: bool
    memory_gb: float
    modules: tuple[str, ...] = ()
    file_mb: int = 256
    device: str = "cpu"


def main(pipe: Connection, confinement: Confinement) -> None:
    """Confines the process, says how, and answers."""
    parent = os.getppid()
    libc.die_with_parent()
    warden = _redirect(confinement, parent, keep=pipe.fileno())
    here, there = socket.socketpair()
    send_handle(pipe, there.fileno(), None)  # where attempts are told: nobody's but the harness's
    there.close()
    here.setblocking(False)
    bare.forget(_environment(confinement.view.scratch))
    for module in confinement.modules:
        importlib.import_module(module)
    try:
        force = _confine(confinement, warden, teller(here.detach()))
    except OSError as error:  # half confined is not confined
        pipe.send_bytes(json.dumps({"failed": str(error)}).encode())
        return
    torch.set_num_threads(confinement.threads)
    arithmetic.settle(confinement.device)
    parts = Parts()
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(json.dumps({"containment": force}).encode())
        while True:
            frame, tensors = pipe.recv_bytes(), pipe.recv_bytes()
            for part in _answer(frame, tensors, parts):
                pipe.send_bytes(part)


def _redirect(confinement: Confinement, parent: int, keep: int) -> Warden | None:
    """Prints go to the log, nothing is read, and no other file that was open stays so.

    Where there is a process that waits for this one, prints go to it, and it keeps what is worth keeping.
    """
    log = confinement.log
    sys.stdout.flush()
    sys.stderr.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX") if keep < 65536 else keep + 2)
    kept = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    reader, writer = os.pipe() if _ON_LINUX else (kept, kept)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, place in ((nothing, 0), (writer, 1), (writer, 2)):
        os.dup2(source, place)
    for descriptor in {nothing, writer}:
        os.close(descriptor)
    if not _ON_LINUX:
        return None
    counted = None if confinement.namespaces else confinement.view.scratch
    return Warden(reader, kept, parent, counted, confinement.view.scratch_mb * 2**20)


def _environment(scratch: Path) -> dict[str, str]:
    """What is left of the environment."""
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    return kept | dict.fromkeys(("HOME", "TMPDIR"), str(scratch))


def _confine(confinement: Confinement, warden: Warden | None, tell: Teller) -> str:
    """Puts everything in force that the machine offers; returns what is."""
    view, force = confinement.view, []
    if confinement.namespaces and warden:
        kernel.enter_namespaces(view, warden.wait_for)
        force.append("namespaces")
    else:
        view.scratch.mkdir(parents=True, exist_ok=True)
        if warden:
            kernel.split(warden.wait_for)
    if warden:
        os.close(warden.prints)
        os.close(warden.log)
    os.chdir(view.scratch)
    # Another clone that the package is installed from has submissions too, which are not to be looked for,
    # nor is anything else that is not seen.
    others = (entry for entry in sys.path if entry and _is_seen(Path(entry), view))
    sys.path[:] = [str(confinement.root), *others]
    # The package of submissions is made here: no file that somebody put there is run in another's name.
    home = types.ModuleType("submissions")
    home.__path__ = [str(confinement.root / "submissions")]
    sys.modules[home.__name__] = home
    sys.dont_write_bytecode = True
    sys.pycache_prefix = str(view.scratch)  # what a submission brings along compiled is not what is run
    system = tuple(Path(path) for path in (*kernel.SYSTEM, "/proc", "/sys"))
    readable, devices = (*view.seen, *system), kernel.devices(view)
    gpu = confinement.device.startswith("cuda")
    # CUDA does not start where it may write nothing below /proc. Its own process is all that may be left to
    # it: a superuser's process could set the kernel's switches there.
    own = (Path("/proc/self"),) if gpu else ()
    with contextlib.suppress(OSError):
        landlock.restrict_files(readable, (view.scratch, *own), devices, view.hidden)
        force.append("landlock")
    with contextlib.suppress(OSError):
        filter_calls(gpu)
        force.append("system calls filtered")
    kernel.limit(confinement.file_mb, None if view.devices else confinement.memory_gb)
    force.append("limits")
    strict = "namespaces" not in force
    watch.watch(tell, (view.scratch, *devices), readable, view.hidden, strict)
    return ", ".join([*force, "audit hook"])


def _is_seen(entry: Path, view: kernel.View) -> bool:
    """Whether an entry of Python's path is among what is seen, and no project's own folder."""
    place = Path(os.path.abspath(entry))
    places = {place, place.resolve()}
    return not places & set(view.hidden) and any(
        p.is_relative_to(top) for p in places for top in view.readable
    )


def _answer(frame: bytes, tensors: bytes, parts: Parts) -> tuple[bytes, bytes, bytes]:
    """Header, result and the result's tensors."""
    started = time.perf_counter()
    settings, generators = settings_of_process(), random_states()
    handed = parcel.Unpacked()

    def conditions() -> list[bytes]:
        return [network.condition() for network in handed.networks]

    def perform() -> Any:
        nonlocal handed
        handed = parcel.unpack(frame, tensors)
        handed.checksum = checksum(handed.tensors, conditions())
        graph, function, arguments = handed.value
        with torch.set_grad_enabled(graph):
            return function(*arguments)

    header, value, found = _perform(perform)
    with torch.inference_mode(False), torch.enable_grad():
        header |= {
            "replaced": parts.replaced()[:_NAMES],
            "overwritten": checksum(handed.tensors, conditions()) != handed.checksum,
            "left": changed(settings, settings_of_process()),
            "drew": changed(generators, random_states()),
            "counts": handed.counts(),
            "seconds": time.perf_counter() - started,
        }
        return json.dumps(header).encode(), value, found


def _perform(function: Callable[[], Any]) -> tuple[dict[str, Any], bytes, bytes]:
    """Runs a method's code; whatever it does becomes a header."""
    try:
        return {"status": "ok"}, *parcel.encode(function())
    except parcel.NotData as error:
        failure = invalid("", str(error))
    except StepFailed as error:
        failure = error
    except PotemkinError as error:
        failure = invalid("", str(error))
    except SystemExit as error:
        failure = StepFailed("crashed", "method", f"called exit({error.code}) before it returned")
    except BaseException as error:
        if is_out_of_memory(error):
            failure = StepFailed("oom", "method", "out of memory")
        else:
            failure = StepFailed("crashed", "method", with_place(error))
    reason = failure.reason.removeprefix(f"{failure.culprit}: ")
    return {"status": failure.status, "reason": reason, "culprit": failure.culprit}, *parcel.encode(None)
