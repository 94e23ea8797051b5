"""Rules for files that a process sets itself, without a view of its own: Landlock, where Linux has it.

It holds beside namespaces, and where there are none. Of what is not named nothing can be opened; processes
outside cannot be looked into either, nor be sent signals by newer kernels.

Source: the kernel's documentation, userspace-api/landlock.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.isolation import libc

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_TRUNCATE, _DEVICE = 1 << 14, 1 << 15
_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE
"""Rights that a file can have; the others are a folder's."""
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_SPECIAL = 1 << 6 | 1 << 9 | 1 << 11
"""Making devices and sockets."""
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights the first versions know; later ones know 16."""


def restrict_files(
    readable: Iterable[Path], writable: Iterable[Path], devices: Iterable[Path], listable: Iterable[Path]
) -> None:
    """From now on only these can be opened, with all inside, for good.

    Args:
        readable: files and folders to read.
        writable: folders to read and write.
        devices: files to read, write and control.
        listable: folders whose names may be read, as imports do on their way to what is inside.

    Raises:
        OSError: the machine does not offer it.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "Landlock is Linux's")
    library = libc.load()
    version = libc.call(library.syscall, _CREATE, None, ctypes.c_size_t(0), 1)
    handled = (1 << _RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", handled, 3, 3)[: 24 if version >= 6 else 16 if version >= 4 else 8]
    rules = libc.call(library.syscall, _CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    try:
        for paths, rights in (
            (readable, _READ),
            (writable, handled & ~_SPECIAL),
            (listable, _READ_DIR),
            (devices, _READ_FILE | _WRITE_FILE | _TRUNCATE | _DEVICE),
        ):
            for path in paths:
                _add(library, rules, path, handled & rights)
        libc.allow_no_privileges()
        libc.call(library.syscall, _RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _add(library: Any, rules: int, path: Path, rights: int) -> None:
    """A rule; of what is not there, none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = struct.pack("<Qi", rights if path.is_dir() else rights & _FILE, descriptor)
        libc.call(library.syscall, _ADD, rules, 1, rule, 0)
    finally:
        os.close(descriptor)
