"""The C library, for what Python has no words for."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIGKILL = 9


def load() -> Any:
    """The library; errors of its functions are kept for :func:`call`."""
    return ctypes.CDLL(None, use_errno=True)


def call(function: Callable[..., int], *arguments: object) -> int:
    """Calls a C function; raises what it says in ``errno``."""
    result = int(function(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def die_with_parent(signal: int = _SIGKILL) -> None:
    """Has the kernel end this process when its parent ends (Linux; elsewhere nothing happens).

    Args:
        signal: that it is then sent; 0 for none.
    """
    if sys.platform.startswith("linux"):
        call(load().prctl, _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def allow_no_privileges() -> None:
    """No program that this process starts ever has more privileges than it has."""
    call(load().prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
