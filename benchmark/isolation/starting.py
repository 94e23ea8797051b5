"""Starts confined processes: what one may see, and whether this machine can hide the rest.

A process is started by whoever may start processes, and asked by whoever holds its pipe (:mod:`host`): those
are two, since the workers that hold the data start none.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from benchmark.files.assets import MARKER
from benchmark.interrupts import uninterrupted
from benchmark.isolation import inside, kernel
from benchmark.isolation.families import end
from benchmark.isolation.host import Guest, Patience

_CODE = ("benchmark", "baselines")


def confinement(
    root: Path,
    methods: tuple[Path, ...],
    scratch: Path,
    log: Path,
    threads: int,
    memory_gb: float,
    modules: tuple[str, ...] = (),
    device: str = "cpu",
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
        device: where it computes; a GPU's files are seen for one on a GPU only.
    """
    python = {Path(p).resolve() for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    paths = {Path(entry).resolve() for entry in sys.path if entry}
    # The package can have been installed from another folder of the project than the one at hand.
    projects = {root, *(path for path in paths if (path / MARKER).is_file())}
    own = [project / name for project in sorted(projects) for name in _CODE]
    # What else Python looks through, such as the folder that a command was started in, is not for them.
    packages = {path for path in paths if _holds_packages(path)}
    installed = {path for path in python | packages if path.exists() and not _leads_to(path, projects)}
    devices = tuple(sorted(Path("/dev").glob("nvidia*"))) if device.startswith("cuda") else ()
    readable, hidden = (*own, *sorted(installed)), tuple(sorted(projects))
    view = kernel.View(readable, hidden, scratch, devices=devices, copied=methods)
    return inside.Confinement(root, view, log, threads, namespaces_work(), memory_gb, modules, device=device)


@functools.cache
def _holds_packages(path: Path) -> bool:
    """Whether an entry of Python's path is one that packages are installed to, or an archive of them."""
    return path.is_file() or any(next(path.glob(f"*.{kind}"), None) for kind in ("dist-info", "egg-info"))


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
