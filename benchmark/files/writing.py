"""Files that commands write: complete or absent, as the umask says, and one sentence where they cannot be.

A disk that is full is nobody's fault among the methods: it ends a command, which goes on once there is room.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from benchmark.errors import PotemkinError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM)
_OTHER = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENOENT)


class CannotWrite(PotemkinError):
    """A folder or a disk takes no files; the text names it and says what to do."""


@contextlib.contextmanager
def writing(place: Path, option: str) -> Iterator[None]:
    """What cannot be written in the block is one sentence.

    Args:
        place: what is written, or the folder that it is in.
        option: that names another place, such as ``--store``.

    Raises:
        CannotWrite: instead of an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        raise _sentence(error, place, option) from error


def _sentence(error: OSError, place: Path, option: str) -> CannotWrite:
    if error.errno in _FULL:
        advice = (
            f"free some space there, or name another folder with {option}; what has finished is kept, and "
            "the same command goes on"
        )
    elif error.errno in _CLOSED:
        advice = f"make it writable, or name another folder with {option}"
    elif error.errno in _OTHER:
        advice = f"a folder is needed there: move away what is in its place, or name another with {option}"
    else:
        advice = f"name another folder with {option}"
    return CannotWrite(f"{_shown(error, place)} cannot be written: {error.strerror or error}; {advice}")


def _shown(error: OSError, place: Path) -> str:
    """The file that the error names, if it is on the way to the place; else the place."""
    named = error.filename
    if isinstance(named, str) and (Path(named) == place or Path(named) in place.parents):
        return named
    return str(place)


def writable(folder: Path, option: str) -> None:
    """Makes a folder, and makes sure before anything is computed that it takes files.

    Raises:
        CannotWrite: it does not.
    """
    with writing(folder, option):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{uuid.uuid4().hex}"
        try:
            probe.write_bytes(b"potemkin")
        finally:
            probe.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, complete or not at all; what stood there before is replaced."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        aside.write_bytes(content)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
