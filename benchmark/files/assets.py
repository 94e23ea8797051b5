"""Files are handed out only with the promised SHA-256, manifests only with known fields."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from benchmark.errors import AssetError, PotemkinError, TaskError, unknown
from benchmark.files.fields import sentences, validated, wrong
from benchmark.files.yaml import look_up

PENDING = "pending"
Sha256 = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|pending)$")]
"""64 lowercase hexadecimal digits, or ``pending`` for a file that is not made yet."""

Model = TypeVar("Model")


def _inside(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("must not lead out of its folder; remove '..'")
    return path


MARKER = Path("tasks") / "suites.yaml"
"""What tells a folder to be a project's root."""
_RESTORE = (
    "put it there if it is your own; of what ships, restore it with `git checkout -- {path}` or a fresh "
    "clone; weights of victims can also be trained anew by `python tools/train_victims.py`, then "
    "`python tools/update_manifest.py`"
)


RelativePath = Annotated[
    str, StringConstraints(max_length=1000, pattern=r"^[^/\\\n\t.][^\\\n\t]*$"), AfterValidator(_inside)
]
"""A path that leads to somewhere below the folder that it is relative to."""
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,199}$")]
"""What a package, a network or a variable can be called."""
Size = Annotated[int, Field(gt=0, le=10**6)]
"""A number of pixels, channels or classes."""


class Entry(BaseModel):
    """One entry of a manifest: immutable, and every unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def locate_root() -> Path:
    """The project's root folder: the one that holds ``tasks/suites.yaml``.

    It is the environment variable ``POTEMKIN_ROOT`` where set, else the nearest such folder at or
    above the current one, else the folder that the ``benchmark`` package lies in.

    Raises:
        PotemkinError: the folder thus found does not hold ``tasks/suites.yaml``.
    """
    if named := os.environ.get("POTEMKIN_ROOT"):
        root = Path(os.path.expanduser(named)).resolve()
    else:
        here = Path.cwd().resolve()
        fallback = Path(__file__).resolve().parents[2]
        root = next((f for f in (here, *here.parents) if (f / MARKER).exists()), fallback)
    if (root / MARKER).exists() and not (root / MARKER).is_file():
        raise PotemkinError(
            f"{root / MARKER} is no file but a folder, a pipe or a device: put the file there, as "
            f"`git checkout -- {MARKER}` does"
        )
    if not (root / MARKER).is_file():
        raise PotemkinError(
            f"{root} does not hold {MARKER}: run inside a clone of the project, or set the "
            "environment variable POTEMKIN_ROOT to one"
        )
    return root


@functools.lru_cache(maxsize=1024)
def _digest(path: Path, *marks: int) -> str:
    """The hash of a file; the marks (size, times of change, inode) are there to tell versions of it apart."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path, fix: str | None = None) -> str:
    """The file's SHA-256, 64 lowercase hexadecimal digits; cached within a process.

    It is read again when its size, a time of change or its inode is another.

    Args:
        path: the file.
        fix: how to get the file, said when it is missing; by default that of a project's file.

    Raises:
        AssetError: there is no such file.
    """
    if not path.is_file():
        raise AssetError(f"missing file {path}: {fix or _RESTORE.format(path=path)}")
    status = path.stat()
    marks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    return _digest(path.resolve(), *marks)


def verified(path: Path, sha256: str, fix: str | None = None) -> Path:
    """``path`` itself, once its content is known to have the given SHA-256.

    Raises:
        AssetError: the file is missing, has another hash, or its hash is still pending; the text
            ends in ``fix``, by default how to get a file of the project.
    """
    found = sha256_of(path, fix)
    if sha256 == PENDING:
        raise AssetError(
            f"{path} lies on disk but its manifest entry says sha256: {PENDING}; record it with "
            "`python tools/update_manifest.py`"
        )
    if found != sha256:
        raise AssetError(
            f"{path} is not the promised file: expected sha256 {sha256}, found {found}; "
            f"{fix or _RESTORE.format(path=path)}"
        )
    return path


@contextmanager
def network_timeout(seconds: float = 10.0) -> Iterator[None]:
    """New sockets inside the block give up after ``seconds`` without an answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _complaint(error: ErrorDetails, sources: set[str]) -> str:
    """``field: what is wrong`` of a pydantic error; a union's tag is no part of the field."""
    places = [str(part) for part in error["loc"]]
    if places and places[0] in sources:
        places = places[1:]
    messages = {
        "extra_forbidden": "unknown field; remove it or check its spelling",
        "missing": "missing field; add it",
    }
    return f"{'.'.join(places) or 'source'}: {messages.get(error['type'], wrong(error))}"


def read_manifest(path: Path, adapter: TypeAdapter[Model], sources: set[str]) -> dict[str, Model]:
    """The entries of a YAML manifest by name.

    Args:
        path: the YAML file, a mapping from names to entries.
        adapter: validates one entry.
        sources: the tags of the union that ``adapter`` validates.

    Raises:
        TaskError: the file is missing, is not such a mapping, or an entry is wrong; the text names
            file, entry and field.
    """
    entries = look_up(path, _manifest(path))
    return {name: _entry(path, name, fields, adapter, sources) for name, fields in entries.items()}


def read_entry(path: Path, kind: str, name: str, adapter: TypeAdapter[Model], sources: set[str]) -> Model:
    """One entry of a YAML manifest; what is wrong with others does not matter.

    Args:
        path: the YAML file.
        kind: what its entries are, in words.
        name: the entry's.
        adapter: validates it.
        sources: the tags of the union that ``adapter`` validates.

    Raises:
        TaskError: as for :func:`read_manifest`, or there is no such entry.
    """
    entries = look_up(path, _manifest(path))
    if name not in entries:
        raise unknown(kind, name, entries)
    return _entry(path, name, entries[name], adapter, sources)


def entry_names(path: Path) -> list[str]:
    """Names of a YAML manifest's entries, in its order; raises ``TaskError`` where it cannot be read."""
    return list(look_up(path, _manifest(path)))


def _manifest(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _entry(path: Path, name: str, fields: object, adapter: TypeAdapter[Model], sources: set[str]) -> Model:
    try:
        return validated(adapter, fields)
    except ValidationError as error:
        complaints = "; ".join(sentences(error.errors(), lambda detail: _complaint(detail, sources)))
        raise TaskError(f"{_manifest(path)}: entry {name!r}: {complaints}") from None
