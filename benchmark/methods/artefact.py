"""A method that cannot be published competes with its forgeries: files that are hashed and never run.

Layout of such a submission::

    submissions/NAME/card.yaml                   division: open
    submissions/NAME/artefact.yaml               which tasks, and the SHA-256 of each file
    submissions/NAME/TRACK/TASK.safetensors      the very tensors that a forge step of that task stores
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from benchmark.errors import MethodError
from benchmark.files.assets import sha256_of
from benchmark.files.forms import read_form
from benchmark.methods.card import load_card
from benchmark.methods.names import METHOD_NAME
from benchmark.methods.stored import StoredForgery, tensors_file

ARTEFACT = "artefact.yaml"
"""What a submission may be named."""

_EXAMPLES = {"tasks": "{saliency/smoke-gradient: SHA-256 of its file}"}
_REMEDY = "`potemkin submit-artefact` writes it"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
TaskId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+/[A-Za-z0-9_-]+$")]


class Manifest(BaseModel):
    """What ``artefact.yaml`` says.

    Args:
        tasks: for each task that there is a file for, the file's SHA-256.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tasks: Annotated[dict[TaskId, Sha256], Field(min_length=1)]


def load_manifest(folder: Path) -> Manifest:
    """What the ``artefact.yaml`` of a submission's folder says; raises ``MethodError`` where it is wrong."""
    manifest, problems = read_form(folder / ARTEFACT, Manifest, _EXAMPLES, _REMEDY)
    if manifest is None:
        raise MethodError("\n".join(problems))
    return manifest


def stored_attack(folder: Path) -> tuple[type[StoredForgery], dict[str, Any]]:
    """The attack that a submission's folder hands in, and its settings; nothing of the folder is run.

    Args:
        folder: ``submissions/NAME``, which holds ``artefact.yaml``.

    Raises:
        MethodError: ``artefact.yaml`` is wrong, the folder cannot be a method's name, or it holds code too.
    """
    hashes = load_manifest(folder).tasks
    if not METHOD_NAME.fullmatch(folder.name):
        raise MethodError(f"{folder.name!r} cannot be a method's name: write small letters, digits and _")
    if code := sorted(file.name for file in folder.rglob("*.py")):
        raise MethodError(f"{ARTEFACT} and {code[0]} lie in one folder: hand in forgeries or code, not both")
    about = {"name": folder.name, "tracks": tuple(sorted({task.split("/")[0] for task in hashes}))}
    with contextlib.suppress(MethodError):  # what is wrong with a card is said by those who check it
        about["paper"] = load_card(folder).paper
    settings = {"folder": str(folder), "hashes": dict(hashes)}
    return type(StoredForgery.__name__, (StoredForgery,), about), settings


def content_sha256(folder: Path, hashes: Mapping[str, str], task_id: str) -> str:
    """What a stored forgery of a task depends on: the file that there is, and the one that was handed in."""
    promised = hashes.get(task_id, "none")
    path = tensors_file(folder, task_id)
    found = sha256_of(path) if path.is_file() and not path.is_symlink() else "missing"
    return found if found == promised else f"{found}, handed in {promised}"
