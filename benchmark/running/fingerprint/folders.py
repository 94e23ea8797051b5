"""Files as bytes: all that lies in a submission's folder, and what lies beside code that reads it."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from benchmark.files.assets import sha256_of

_NOT_READ = "__pycache__"


def folder_fingerprints(folder: Path, root: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder by relative path, hidden ones, code and words included.

    What Python compiled counts too: it is not run, but could be read. A link counts as what it points to in
    words, and as what it holds where it leads to a file inside the project; a file that cannot be read counts
    as that.
    """
    files = [folder] if not folder.is_dir() else _files(folder, compiled=True)
    return {path.relative_to(root).as_posix(): content_digest(path, root) for path in sorted(files)}


def data_beside(file: Path, root: Path) -> dict[str, str]:
    """SHA-256 of the files beside a module, those below it included, that are no code."""
    found = [path for path in sorted(_files(file.parent)) if path.suffix != ".py"]
    return {path.relative_to(root).as_posix(): content_digest(path, root) for path in found}


def _files(folder: Path, compiled: bool = False) -> Iterator[Path]:
    for where, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if compiled or name != _NOT_READ]
        here = Path(where)
        linked = [name for name in folders if (here / name).is_symlink()]
        yield from (
            here / name for name in (*names, *linked) if compiled or not name.endswith((".pyc", ".pyo"))
        )


def content_digest(path: Path, root: Path) -> str:
    """SHA-256 of what a path holds, as :func:`folder_fingerprints` says; in words where it holds nothing."""
    try:
        about = path.lstat()
        if stat.S_ISREG(about.st_mode):
            return _content(path, about.st_mtime_ns, about.st_size)
        if stat.S_ISLNK(about.st_mode):
            target, inner = os.readlink(path), path.resolve()
            inside = inner.is_relative_to(root.resolve()) and inner.is_file()
            held = _content(inner, inner.stat().st_mtime_ns, inner.stat().st_size) if inside else ""
            return hashlib.sha256(f"link {target} {held}".encode("utf-8", "surrogateescape")).hexdigest()
    except (OSError, RuntimeError):  # nobody may read it, it is gone, or links go round
        return "unreadable"
    return "no file"


@functools.lru_cache(maxsize=4096)
def _content(path: Path, changed: int, size: int) -> str:
    return sha256_of(path)
