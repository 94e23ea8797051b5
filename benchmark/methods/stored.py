"""A forgery that somebody hands in as a file is an attack that runs none of their code.

Tasks' steps ask :class:`StoredForgery` for tensors instead of having it forge. Every cell depends on this
module, so what lists such files is in :mod:`benchmark.methods.artefact`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from benchmark.errors import MethodError, in_a_line
from benchmark.failures import invalid
from benchmark.methods.base import Attack, Forgery, TaskFacts

SUFFIX = ".safetensors"
LARGEST_MB = 512
"""What a file of tensors may take; it is read into memory at once."""

_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""How archives of ``torch.save`` and pickles begin."""


def tensors_file(folder: Path, task_id: str) -> Path:
    """Where a submission's folder has its forgery of a task."""
    return folder / f"{task_id}{SUFFIX}"


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """The tensors of a file, read once, so that what is checked is what is used.

    Args:
        path: a file of safetensors.
        sha256: what the file has to hash to; None for anything.

    Raises:
        MethodError: the file is missing, a link, too large, not safetensors, or not the promised one.
    """
    name = path.name
    if path.is_symlink():
        raise MethodError(f"{name} is a link: hand in the file itself")
    if not path.is_file():
        raise MethodError(f"{name} is missing: put it back, or run `potemkin submit-artefact` again")
    size = path.stat().st_size / 2**20
    if size > LARGEST_MB:
        raise MethodError(f"{name} takes {size:.0f} MiB, and at most {LARGEST_MB} are allowed: hand in less")
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise MethodError(
            f"{name} is not the file that was handed in: put it back, or run `potemkin submit-artefact` again"
        )
    try:
        return load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:
        if content.startswith(_PICKLES):
            raise MethodError(
                f"{name} is a pickle, which could run code when it is read, and is never opened: "
                "write its tensors with safetensors.torch.save_file"
            ) from None
        text = in_a_line(error, 200)
        raise MethodError(
            f"{name} is no file of safetensors ({text}): write it with safetensors.torch.save_file"
        ) from None


class StoredForgery(Attack):
    """An attack made of files: what it hands in is checked as any attack's forgery, and no code of it runs.

    Args:
        folder: the submission's folder; its name is the attack's.
        hashes: for each task that there is a file for, the SHA-256 that the file was handed in with.
    """

    name = "stored_forgery"
    paper = "handed in without its method"
    tracks = ()
    adaptive = False

    def __init__(self, folder: str, hashes: Mapping[str, str]) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.hashes = hashes

    @property
    def variant(self) -> str:
        """The folder's name."""
        return self.folder.name

    def skip(self, task: TaskFacts) -> str | None:
        """Tasks that nothing was handed in for."""
        return None if task.id in self.hashes else f"no forgery of {task.id} was handed in"

    def tensors(self, task_id: str) -> dict[str, Tensor]:
        """What was handed in for a task, not yet checked; what cannot be read is a failure blamed on it."""
        try:
            return read_tensors(tensors_file(self.folder, task_id), self.hashes[task_id])
        except MethodError as error:
            raise invalid(self.variant, str(error)) from error

    def forge(self, case: Any) -> Forgery:
        """Never asked: a forgery of the whole task is at hand."""
        raise MethodError(f"{self.variant} has no code to run: its forgeries are files")


def by_case(tensors: Mapping[str, Tensor], cases: int, culprit: str) -> list[dict[str, Tensor]]:
    """Tensors named ``INDEX/NAME`` by name, case by case; a failure blamed on the culprit for other names."""
    found: list[dict[str, Tensor]] = [{} for _ in range(cases)]
    known = {str(index): index for index in range(cases)}
    for key, value in tensors.items():
        index, slash, name = key.partition("/")
        if index not in known or not slash:
            raise invalid(culprit, f"tensor {key!r} is of no case: names begin with 0/ to {cases - 1}/")
        found[known[index]][name] = value
    for number, part in enumerate(found):
        if not part:
            raise invalid(culprit, f"case {number} has no tensors: their names begin with {number}/")
    return found
