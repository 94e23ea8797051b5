"""Ctrl-C is one line, whenever it comes: while the command still imports, runs, or ends.

Imports nothing heavy: it has to be in force before torch is loaded.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

CODE = 130
_LINE = "potemkin: interrupted; what has finished is kept, run again to go on\n"


def leave_at_once() -> None:
    """From now on ctrl-C ends the process with its line: for when there is nothing to clear away."""
    _handle(_leave)


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Ctrl-C raises ``KeyboardInterrupt`` within the block, which clears away what it has begun.

    Around it ctrl-C does what it did.
    """
    before = signal.getsignal(signal.SIGINT)
    hook, sys.unraisablehook = sys.unraisablehook, _unraisable
    _handle(signal.default_int_handler)
    try:
        yield
    finally:
        _handle(before)
        sys.unraisablehook = hook


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, and never comes to processes that are started in it.

    A terminal sends it to all of them; the command ends them itself, and theirs would be tracebacks.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def say(line: str = _LINE) -> int:
    """Says that the command was interrupted; returns its exit code."""
    _handle(signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.write(2, line.encode())
    return CODE


def _leave(*_: object) -> None:
    say()
    os._exit(CODE)


def _unraisable(caught: Any) -> None:
    """Ctrl-C in code that cannot raise (a destructor, a callback) must not be lost, nor be a traceback."""
    if issubclass(caught.exc_type, KeyboardInterrupt):
        _leave()
    sys.__unraisablehook__(caught)


def _handle(handler: Any) -> None:
    """Sets the handler, unless this is a thread, or ctrl-C is ignored, as it is behind ``nohup``."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)
