"""Starts the server that workers are forked from while the command itself is still importing and planning.

It imports nothing heavy, so that the server's own imports (torch, timm, torchvision: seconds) run beside
those of the command, on another core.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import tempfile
from multiprocessing import resource_tracker, util
from typing import Any

from benchmark.errors import PotemkinError
from benchmark.interrupts import uninterrupted

PRELOADED = ["benchmark.running.worker", "timm", "torchvision"]
_LONGEST_FOLDER = 60
"""Bytes of a folder for sockets: paths may have about 100, and multiprocessing adds names of its own."""
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")


def context() -> Any:
    """The way that worker processes are started."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    _shorten_sockets()
    resource_tracker.ensure_running()  # lets ctrl-C through when it starts: before anybody holds that back
    chosen: Any = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(PRELOADED)
    return chosen


def warm_up() -> None:
    """Starts the server, and does not wait for it."""
    if context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with uninterrupted():
            forkserver.ensure_running()


@functools.cache
def _shorten_sockets() -> None:
    """Sockets lie elsewhere where the folder for temporary files has a long name, as batch jobs have."""
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= _LONGEST_FOLDER:
        return
    for folder in _SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            try:
                tempfile.tempdir = folder
                util.get_temp_dir()  # is made once, and kept for all sockets of this process
            finally:
                tempfile.tempdir = usual
            return
    raise PotemkinError(
        f"TMPDIR={usual} has too long a name for sockets ({len(os.fsencode(usual))} bytes, at most "
        f"{_LONGEST_FOLDER}): set TMPDIR to a shorter folder"
    )
