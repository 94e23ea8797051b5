"""A stranger's folder is data: it is walked without following anything, and what is odd about it is told.

Links, pipes, sockets and devices are refused wherever they lie, so that nothing outside is ever read or
hashed in a submission's name, and nothing is waited for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from benchmark.errors import MethodError
from benchmark.failures import printable
from benchmark.files.names import is_printable

_MOST_FILES, _DEEPEST, _LONGEST_NAME = 10_000, 16, 150
_LARGEST_MB, _LARGEST_FORGERIES_MB, _LARGEST_CODE_KB, _MOST_CODE = 256, 4096, 128, 32
_FORGERIES = ".safetensors"
_KINDS = {
    stat.S_IFLNK: "a link: put the file or folder itself there",
    stat.S_IFIFO: "a pipe: remove it",
    stat.S_IFSOCK: "a socket: remove it",
    stat.S_IFCHR: "a device: remove it",
    stat.S_IFBLK: "a device: remove it",
}


def files_below(top: Path) -> list[Path]:
    """Every file of a submission, sorted: of its folder, or the one file that it is.

    Python's own ``__pycache__`` is in it: nothing there is run, and what is there could be read.

    Args:
        top: ``submissions/NAME`` or ``submissions/NAME.py``.

    Raises:
        MethodError: something in it is no plain file or folder, cannot be read, or is too much; one sentence.
    """
    found: list[Path] = []
    sizes = {_LARGEST_MB: 0, _LARGEST_FORGERIES_MB: 0}
    for path, status in _walk(top, top, 0):
        most = _LARGEST_FORGERIES_MB if path.suffix == _FORGERIES else _LARGEST_MB
        sizes[most] += status.st_size
        if sizes[most] > most * 2**20:  # all of it is hashed by every command
            what = f"{_FORGERIES} files" if path.suffix == _FORGERIES else "files"
            raise MethodError(f"holds {what} of more than {most} MiB: hand in less")
        if path.suffix in (".pyc", ".pyo") and path.parent.name != "__pycache__":
            raise MethodError(f"{_shown(path, top)} is compiled: put the code itself there")
        if path.suffix == ".py" and status.st_size > _LARGEST_CODE_KB * 1024:
            raise MethodError(
                f"{_shown(path, top)} is larger than {_LARGEST_CODE_KB} KiB: keep numbers elsewhere"
            )
        found.append(path)
        if len(found) > _MOST_FILES:
            raise MethodError(f"holds more than {_MOST_FILES} files: hand in fewer")
    if sum(path.suffix == ".py" for path in found) > _MOST_CODE:
        raise MethodError(f"holds more than {_MOST_CODE} Python files: hand in fewer")
    return sorted(found)


def submissions(root: Path) -> list[Path]:
    """What lies right below ``submissions/``, sorted, but for hidden things and Python's own."""
    try:
        names = os.listdir(root / "submissions")
    except OSError:
        return []
    return [root / "submissions" / name for name in sorted(names) if not name.startswith((".", "__"))]


def strays(root: Path) -> list[Path]:
    """Python files right below ``submissions/`` that are nobody's: as a package's own they run first."""
    return sorted((root / "submissions").glob("__*.py"))


def code_below(top: Path) -> list[Path]:
    """The Python files of a submission that may define methods; raises ``MethodError`` for an odd one."""
    if not top.is_symlink() and not top.is_dir() and top.suffix != ".py":
        return []
    code = [file for file in files_below(top) if file.suffix == ".py" and file.name != "__init__.py"]
    return [file for file in code if file.parent.name != "__pycache__"]


def _walk(path: Path, top: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    shown = _shown(path, top)
    if not is_printable(path.name) or len(path.name) > _LONGEST_NAME:
        raise MethodError(f"{shown} has a name that is too long or cannot be shown: rename it")
    try:
        status = path.lstat()
    except OSError as error:
        raise MethodError(f"{shown} cannot be read: {error.strerror}") from None
    kind = stat.S_IFMT(status.st_mode)
    if kind in _KINDS:
        raise MethodError(f"{shown} is {_KINDS[kind]}")
    if not os.access(path, os.R_OK):
        raise MethodError(f"{shown} cannot be read: give yourself the right to")
    if not stat.S_ISDIR(status.st_mode):
        yield path, status
        return
    if depth > _DEEPEST:
        raise MethodError(f"{shown} lies more than {_DEEPEST} folders deep: make it flatter")
    yield from _below(path, top, depth)


def _below(folder: Path, top: Path, depth: int) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise MethodError(f"{_shown(folder, top)} cannot be read: {error.strerror}") from None
    if len(names) > _MOST_FILES:
        raise MethodError(f"{_shown(folder, top)} holds more than {_MOST_FILES} files: hand in fewer")
    for name in sorted(names):
        yield from _walk(folder / name, top, depth + 1)


def _shown(path: Path, top: Path) -> str:
    return printable(path.relative_to(top.parent).as_posix(), 200)
