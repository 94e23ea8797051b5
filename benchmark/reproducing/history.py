"""What a cell was made of at another commit: read from git, by the same fingerprints as a cell's id."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import PotemkinError
from benchmark.running.cells import Cell
from benchmark.running.fingerprint import Code
from benchmark.running.roots import forge_roots, names_asked, scoring_roots, step_roots
from benchmark.tasks.task import load_task
from benchmark.victims.manifest import victim_entry

_SECONDS = 60


@dataclass(frozen=True)
class Made:
    """Parts of a cell's ids as of a commit.

    Args:
        parts: ``code FILE`` of everything that a method's steps run, and ``task``.
        scoring: ``code FILE`` of everything that scores, and ``scoring``.
    """

    parts: dict[str, str]
    scoring: dict[str, str]


def made_at(commit: str, cell: Cell, root: Path) -> Made | None:
    """What the cell was made of at a commit; None where git does not have it or it had no such cell."""
    archive = _archive(commit, root)
    if archive is None:
        return None
    with tempfile.TemporaryDirectory(prefix="potemkin-history-") as folder:
        old = Path(folder).resolve()
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(old, filter="data")
        attack, defense = (old / entry.file.relative_to(root) for entry in (cell.attack, cell.defense))
        # Of a forgery that was handed in there is no code; of a defense that nobody adapted to neither.
        forging = [] if "artefact" in cell.forge_parts else [attack]
        forging += [defense] if "against" in cell.forge_parts and not cell.pool else []
        forging += [old / other.defense.file.relative_to(root) for other in cell.pool]
        try:
            task = load_task(cell.task.id, old)
            asked = names_asked(task, [victim_entry(name, old) for name in task.victims()])
            code = Code(old)
            run = {
                **code.parts(forge_roots(task, forging, old), asked),
                **code.parts(step_roots(task, [defense], old), asked),
            }
            score = code.parts(scoring_roots(task, old), asked)
        except (OSError, PotemkinError):
            return None
    return Made({"task": task.run_identity(), **run}, {"scoring": task.score_identity(), **score})


def _archive(commit: str, root: Path) -> bytes | None:
    """The project's text at a commit, as a tar file; None where git cannot give it."""
    command = ["git", "-C", str(root), "archive", commit, ".", ":(exclude)tasks/assets"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
