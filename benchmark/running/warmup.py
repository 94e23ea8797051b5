"""Starts the server that workers are forked from while the command itself is still importing and planning.

It imports nothing heavy, so that the server's own imports (torch, timm, torchvision: seconds) run beside
those of the command, on another core.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

PRELOADED = ["benchmark.running.worker", "timm", "torchvision"]


def context() -> Any:
    """The way that worker processes are started."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    chosen: Any = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(PRELOADED)
    return chosen


def warm_up() -> None:
    """Starts the server, and does not wait for it."""
    if context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        forkserver.ensure_running()
