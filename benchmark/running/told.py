"""What methods say of themselves, kept between commands: asking them waits for torch, seconds each time.

An answer is kept in the user's cache folder, for a tree as it is and for one environment; the name of a file
says which. Of a tree in which anything has changed methods are asked anew. Nothing is kept of one with a file
that could not be loaded, since what was in its way may be gone the next time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from dataclasses import astuple, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.files.writing import write_whole
from benchmark.running.fingerprint.kept import tree_digest

_FILE = "methods.json"
_MOST = 8
"""Trees whose methods are kept, the last ones that were asked about."""
_LARGEST = 4 * 2**20


@dataclass(frozen=True)
class Told:
    """One variant of a method, as a list shows it.

    Args:
        variant: name with settings.
        kind: ``attack``, ``hardening``, ``detector`` or ``repair``.
        control: whether it must land where it must.
        paper: what it is after.
    """

    variant: str
    kind: str
    control: bool
    paper: str


def told_methods(root: Path) -> tuple[list[Told], list[str]]:
    """All methods of a project tree, in the registry's order, and a sentence per file that is left out.

    Args:
        root: the project's root.

    Raises:
        MethodError: two baselines have one name.
    """
    file, tree = _file(), _digest(root)
    kept = _read(file)
    if tree in kept:
        return kept[tree], []
    from benchmark.running.registry import find_methods  # here: it waits for torch

    registry = find_methods(root)
    found = [Told(e.variant, e.kind, bool(e.method.control), e.method.paper) for e in registry.entries]
    problems = [f"{p.file} could not be loaded: {p.reason}" for p in registry.problems]
    if not problems and tree == _digest(root):  # nobody has changed it meanwhile
        _keep(file, {**kept, tree: found})
    return found, problems


def _file() -> Path:
    """Where answers are kept: the folder for caches, as desktops agree on it."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(named) if os.path.isabs(named) else Path(os.path.expanduser("~")) / ".cache"
    return folder / "potemkin" / _FILE


def _digest(root: Path) -> str:
    """Of all that methods could say follows from: the tree, Python, torch, and where they are installed."""
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = ""
    return hashlib.sha256(f"{tree_digest(root)} {sys.prefix} {torch}".encode()).hexdigest()


def _read(file: Path) -> dict[str, list[Told]]:
    """Answers by trees; none where the file is none of ours."""
    try:
        if file.stat().st_size > _LARGEST:
            return {}
        content: Any = json.loads(file.read_bytes())
        return {str(tree): [_told(*row) for row in rows] for tree, rows in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _told(variant: object, kind: object, control: object, paper: object) -> Told:
    if not all(isinstance(text, str) for text in (variant, kind, paper)) or not isinstance(control, bool):
        raise TypeError
    return Told(str(variant), str(kind), control, str(paper))


def _keep(file: Path, answers: dict[str, list[Told]]) -> None:
    """Writes the file; what cannot be written is asked for again."""
    last = dict(list(answers.items())[-_MOST:])
    content = json.dumps({tree: [astuple(one) for one in rows] for tree, rows in last.items()})
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content.encode())
