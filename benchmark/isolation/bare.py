"""What a process has inherited from whoever started it, forgotten: environment and command line.

The kernel shows a process's first environment and command line in ``/proc`` for as long as it lives, whatever
the process has set since; they lie in its own memory, where they can be overwritten.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmark.isolation import libc

_ARGUMENTS, _ENVIRONMENT = (48, 49), (50, 51)
"""Fields of ``/proc/self/stat``: where these begin and end."""
_NAME = b"potemkin (confined)"


def forget(kept: Mapping[str, str]) -> None:
    """Leaves the process an environment of these alone, and no command line.

    Args:
        kept: variables by name.
    """
    if sys.platform.startswith("linux"):
        _blank_variables()
    os.environ.clear()
    first = getattr(sys.modules.get("posix"), "environ", None)  # what os.environ was made of
    if first is not None:
        first.clear()
    os.environ.update(kept)
    sys.argv[:] = [""]
    sys.orig_argv[:] = []
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, ValueError):
            _blank_beginnings()


def _blank_variables() -> None:
    """Overwrites the values of all variables where the C library has them."""
    variables = ctypes.POINTER(ctypes.c_void_p).in_dll(libc.load(), "environ")
    for address in _until_none(variables):
        text = ctypes.string_at(address)
        start = text.find(b"=") + 1
        ctypes.memset(address + start, 0, len(text) - start)


def _until_none(pointers: object) -> Iterator[int]:
    if not pointers:
        return
    index = 0
    while (address := pointers[index]) is not None:  # type: ignore[index]
        yield address
        index += 1


def _blank_beginnings() -> None:
    """Overwrites what the process was started with, on its first stack."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    for first, last in (_ARGUMENTS, _ENVIRONMENT):
        start, end = int(fields[first - 3]), int(fields[last - 3])
        if 0 < start < end:
            ctypes.memset(start, 0, end - start)
            if first == _ARGUMENTS[0]:
                ctypes.memmove(start, _NAME, min(len(_NAME), end - start - 1))
