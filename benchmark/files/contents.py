"""Hashes of many files' contents, kept between commands so that fifty thousand pictures are read once.

A kept hash is used while a file's size, times of change, inode and device are what they were. The time of
the last change of its status (``ctime``) is among them, which no ordinary call can set back: `touch -d` and
tools that restore a file's date are noticed. What goes unnoticed is a file changed while the machine's clock
was set back to the very moment, or written past the file system. Hashes of files that changed within the last
two seconds are not kept, since a second change could bear the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmark.errors import AssetError

_SETTLED = 2.0
"""Seconds: the coarsest clock of a file system in use."""
_READERS = 4

Marks = list[int]


def content_hashes(paths: Iterable[Path], kept: Path) -> dict[Path, str]:
    """The SHA-256 of every file.

    Args:
        paths: the files.
        kept: the file that hashes are kept in; one that is damaged or cannot be written does no harm.

    Raises:
        AssetError: a file cannot be read.
    """
    known = _read(kept)
    found: dict[Path, str] = {}
    unknown: list[tuple[Path, Marks]] = []
    for path in paths:
        marks = _marks(path)
        entry = known.get(str(path))
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == marks and _is_hash(entry[1]):
            found[path] = entry[1]
        else:
            unknown.append((path, marks))
    with ThreadPoolExecutor(_READERS) as pool:
        hashed = list(pool.map(lambda one: _hash(one[0]), unknown))
    now = time.time()
    for (path, marks), digest in zip(unknown, hashed, strict=True):
        found[path] = digest
        if max(marks[1], marks[2]) / 1e9 < now - _SETTLED and _marks(path) == marks:
            known[str(path)] = [marks, digest]
    if unknown:
        _write(kept, known)
    return found


def _marks(path: Path) -> Marks:
    """What tells versions of a file apart."""
    try:
        status = path.stat()
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror}") from error
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror}") from error


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64


def _read(kept: Path) -> dict[str, Any]:
    try:
        content = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(kept: Path, known: dict[str, Any]) -> None:
    """Complete or not at all; without files that are gone."""
    known = {name: entry for name, entry in known.items() if os.path.exists(name)}
    aside = kept.with_name(f".{kept.name}.{uuid.uuid4().hex}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(known), encoding="utf-8")
        aside.replace(kept)
    except OSError:
        with contextlib.suppress(OSError):
            aside.unlink()
