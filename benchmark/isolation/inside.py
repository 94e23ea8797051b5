"""A confined process: puts itself in chains, then answers questions until it is ended.

Whatever a method does in here, what leaves is data: a verdict, a result, and what was noticed.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from benchmark.errors import PotemkinError
from benchmark.failures import StepFailed, invalid
from benchmark.isolation import kernel, parcel
from benchmark.isolation.watch import Parts, Watch, changed, checksum, random_states, settings_of_process
from benchmark.methods.calls import is_out_of_memory
from benchmark.methods.traces import with_place

_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
_REASON_LENGTH = 300


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
    """

    root: Path
    view: kernel.View
    log: Path
    threads: int
    namespaces: bool
    memory_gb: float
    modules: tuple[str, ...] = ()
    file_mb: int = 256


def main(pipe: Connection, confinement: Confinement) -> None:
    """Confines the process, says how, and answers."""
    kernel.die_with_parent()
    _redirect(confinement.log, keep=pipe.fileno())
    for module in confinement.modules:
        importlib.import_module(module)
    try:
        watch, force = _confine(confinement)
    except OSError as error:  # half confined is not confined
        pipe.send_bytes(json.dumps({"failed": str(error)}).encode())
        return
    torch.set_num_threads(confinement.threads)
    parts = Parts()
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(json.dumps({"containment": force}).encode())
        while True:
            frame, tensors = pipe.recv_bytes(), pipe.recv_bytes()
            for part in _answer(frame, tensors, watch, parts):
                pipe.send_bytes(part)


def _redirect(log: Path, keep: int) -> None:
    """Prints go to a file, nothing is read, and no other file that was open stays so."""
    sys.stdout.flush()
    sys.stderr.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX") if keep < 65536 else keep + 2)


def _confine(confinement: Confinement) -> tuple[Watch, str]:
    """Puts everything in force that the machine offers; returns the watch and what is in force."""
    view, force = confinement.view, []
    if confinement.namespaces:
        kernel.enter_namespaces(view)
        force.append("namespaces")
    else:
        view.scratch.mkdir(parents=True, exist_ok=True)
    os.chdir(view.scratch)
    kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    os.environ.clear()
    os.environ.update(kept | dict.fromkeys(("HOME", "TMPDIR"), str(view.scratch)))
    # Another clone that the package is installed from has submissions too, which are not to be looked for.
    clones = [str(folder) for folder in view.hidden]
    others = (entry for entry in sys.path if entry not in ("", ".", *clones))
    sys.path[:] = [str(confinement.root), *others]
    sys.dont_write_bytecode = True
    with contextlib.suppress(OSError):
        kernel.filter_calls()
        force.append("system calls filtered")
    kernel.limit(confinement.file_mb, None if view.devices else confinement.memory_gb)
    force.append("limits")
    system = tuple(Path(path) for path in (*kernel.SYSTEM, "/proc", "/sys"))
    watch = Watch(view.scratch, (*view.readable, *system), view.hidden, not confinement.namespaces)
    watch.start()
    return watch, ", ".join([*force, "audit hook"])


def _answer(frame: bytes, tensors: bytes, watch: Watch, parts: Parts) -> tuple[bytes, bytes, bytes]:
    """Header, result and the result's tensors."""
    watch.tried.clear()
    started = time.perf_counter()
    settings, generators = settings_of_process(), random_states()
    handed = parcel.Unpacked()

    def conditions() -> list[bytes]:
        return [network.condition() for network in handed.networks]

    def perform() -> Any:
        nonlocal handed
        with watch.unpacking():
            handed = parcel.unpack(frame, tensors)
        handed.checksum = checksum(handed.tensors, conditions())
        graph, function, arguments = handed.value
        with torch.set_grad_enabled(graph):
            return function(*arguments)

    header, value, found = _perform(perform)
    with torch.inference_mode(False), torch.enable_grad():
        header |= {
            "tried": watch.tried,
            "replaced": parts.replaced(),
            "overwritten": checksum(handed.tensors, conditions()) != handed.checksum,
            "left": changed(settings, settings_of_process()),
            "drew": changed(generators, random_states()),
            "counts": handed.counts(),
            "seconds": time.perf_counter() - started,
        }
        return json.dumps(header).encode(), json.dumps(value).encode(), safetensors.torch.save(found)


def _perform(function: Callable[[], Any]) -> tuple[dict[str, Any], Any, dict[str, torch.Tensor]]:
    """Runs a method's code; whatever it does becomes a header."""
    try:
        value, found = parcel.encode(function())
        return {"status": "ok"}, value, found
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
    reason = failure.reason.removeprefix(f"{failure.culprit}: ")[:_REASON_LENGTH]
    return {"status": failure.status, "reason": reason, "culprit": failure.culprit}, None, {}
