"""What fingerprints were of a tree, kept between commands: following every name takes a second of each.

An answer is kept for a tree as it is: for the contents of all files that could count. One that is changed in
anything is followed anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.files.writing import write_whole
from benchmark.running.fingerprint.folders import content_digest
from benchmark.running.fingerprint.places import PACKAGES

_VERSION = 1
_COMPILED = "__pycache__"
_LARGE = 2**20


def tree_digest(root: Path) -> str:
    """SHA-256 of the names and contents of everything that fingerprints can be of, and of Python's version.

    Args:
        root: the tree's root.
    """
    total = hashlib.sha256(f"{_VERSION} {sys.version}".encode())
    for package in PACKAGES:
        for path, digest in _below(root / package, root, compiled=package == "submissions"):
            total.update(f"{path} {digest}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _below(folder: Path, root: Path, compiled: bool) -> Iterator[tuple[str, str]]:
    """Relative paths, sorted, and what lies there."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder.relative_to(root).as_posix(), "unreadable"
        return
    for entry in entries:
        if entry.name == _COMPILED and not compiled:
            continue
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield path.relative_to(root).as_posix(), "folder"
            yield from _below(path, root, compiled)
        else:
            leads_on = "folder" if entry.is_dir() else ""  # a link that code could be imported through
            yield path.relative_to(root).as_posix(), _content(entry, root) + leads_on


def _content(entry: os.DirEntry[str], root: Path) -> str:
    """What a file holds; of a large one the marks that no ordinary call can set back."""
    status = entry.stat(follow_symlinks=False)
    if status.st_size <= _LARGE:
        return content_digest(Path(entry.path), root)
    marks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)
    return " ".join(map(str, marks))


class Answers:
    """Answers about one tree, in a file; one that is damaged or cannot be written does no harm.

    Args:
        file: that they are kept in, where its folder is there; None to keep none.
        root: the tree's root.
    """

    def __init__(self, file: Path | None, root: Path) -> None:
        self._file = file if file is not None and file.parent.is_dir() else None
        self._tree = tree_digest(root) if self._file else ""
        self._parts, self._asked = _read(self._file, self._tree) if self._file else ([], {})
        self._new = False

    def get(self, question: str) -> dict[str, str] | None:
        """The answer to a question; None where it was never asked."""
        place = self._asked.get(question)
        return None if place is None else self._parts[place]

    def add(self, question: str, answer: dict[str, str]) -> None:
        """Notes an answer; many questions have the same."""
        if self._file is None:
            return
        known = next((place for place, parts in enumerate(self._parts) if parts is answer), None)
        if known is None:
            known = len(self._parts)
            self._parts.append(answer)
        self._asked[question] = known
        self._new = True

    def keep(self) -> None:
        """Writes the file, if there is anything new."""
        if self._file is None or not self._new:
            return
        content = {"tree": self._tree, "parts": self._parts, "asked": self._asked}
        with contextlib.suppress(OSError):
            write_whole(self._file, json.dumps(content).encode("utf-8", "surrogateescape"))
        self._new = False


def _read(file: Path, tree: str) -> tuple[list[dict[str, str]], dict[str, int]]:
    """What a file holds about a tree; nothing where it is about another one, or is no such file."""
    try:
        content: Any = json.loads(file.read_bytes().decode("utf-8", "surrogateescape"))
        if content["tree"] != tree:
            return [], {}
        parts = [{str(key): str(value) for key, value in one.items()} for one in content["parts"]]
        asked = {str(key): int(value) for key, value in content["asked"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return [], {}
    return (parts, asked) if all(0 <= place < len(parts) for place in asked.values()) else ([], {})
