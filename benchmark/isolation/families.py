"""A process and all that it has started: its memory, its time, its end."""

from __future__ import annotations

import contextlib
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

MOST_THREADS = 256
"""Of a confined process: each costs memory of the kernel's and a number that others need."""
_LAST_SECONDS = 1.0


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


def threads(process: psutil.Process) -> int:
    """How many threads a process has."""
    try:
        return int(process.num_threads())
    except psutil.Error:
        return 0


def held(process: psutil.Process) -> int:
    """Bytes of memory that a process has now."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def peak_mb(process: psutil.Process) -> float:
    """Peak memory of a process (Linux; elsewhere what it has now)."""
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    with contextlib.suppress(psutil.Error):
        return float(process.memory_info().rss) / 2**20
    return 0.0
