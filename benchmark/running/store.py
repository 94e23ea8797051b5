"""One folder per step, written aside and renamed: what is in the store is complete, whatever was killed.

Layout below the store's folder::

    forge/ID  reference/ID  judge/ID  score/ID     record.json, and tensors.safetensors or samples.json
    tmp/PID-...                                    steps being written

Tensors cross process borders as safetensors, never as pickles. Disks fail all the same: a step whose files
are not what was written counts as missing, is told once by its file's name, and is made again by the next
run.
A record holds a digest of itself and of the files beside it. Of tensors the size is looked at whenever the
step is asked for, the digest when they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import safetensors.torch
import torch
from torch import Tensor

from benchmark.errors import PotemkinError
from benchmark.files.writing import write_whole, writing
from benchmark.running.record import Damaged, looked_through, sealed
from benchmark.running.record import Record as Record

_RECORD, _TENSORS, _SAMPLES = "record.json", "tensors.safetensors", "samples.json"
_HELD = {"forge": _TENSORS, "reference": _TENSORS, "judge": _TENSORS, "score": _SAMPLES}
"""What a step that ended ok has beside its record."""
KINDS = tuple(_HELD)
"""Kinds of steps, in the order in which they are made."""
_OPTION = "--store"


class StoreDamaged(PotemkinError):
    """A file of a finished step is not what was written.

    Args:
        key: kind and id of the step.
        reason: one sentence that names the file.
    """

    def __init__(self, key: tuple[str, str], reason: str) -> None:
        super().__init__(key, reason)
        self.key, self.reason = key, reason

    def __str__(self) -> str:
        return self.reason


class Store:
    """Finished steps on disk.

    Args:
        folder: made if need be.
        notice: is told once of every step that is damaged, in one line.
    """

    def __init__(self, folder: Path, notice: Callable[[str], None] = lambda line: None) -> None:
        self.folder = folder
        self._notice = notice
        self._told: set[tuple[str, str]] = set()
        self._lost: set[tuple[str, str]] = set()

    def path(self, kind: str, step_id: str) -> Path:
        """Folder of a finished step."""
        return self.folder / kind / step_id

    def record(self, kind: str, step_id: str) -> Record | None:
        """The record of a finished step; None where there is none, or where the step is damaged."""
        if (kind, step_id) in self._lost:
            return None
        try:
            return self._looked_up(kind, step_id)
        except StoreDamaged as damage:
            self._tell(damage)
            return None

    def _looked_up(self, kind: str, step_id: str) -> Record | None:
        folder, name = self.path(kind, step_id), _RECORD
        try:
            text = (folder / name).read_bytes()
            record = looked_through(text, kind, step_id)
            if record["status"] == "ok":
                name = _HELD[kind]
                self._check(kind, folder / name, record.get("files", {}).get(name))
        except (FileNotFoundError, NotADirectoryError):  # the latter of a store below what is no folder
            if not os.path.lexists(folder):
                return None
            raise self._damage(kind, step_id, name, "is missing") from None
        except Damaged as fault:
            raise self._damage(kind, step_id, name, str(fault)) from None
        except OSError as error:
            raise self._damage(kind, step_id, name, f"cannot be read: {error.strerror or error}") from None
        return record

    def _check(self, kind: str, file: Path, written: dict[str, Any] | None) -> None:
        """Looks at what lies beside a record, as far as that costs next to nothing."""
        if written is not None and file.stat().st_size != written["bytes"]:
            raise Damaged(f"has {file.stat().st_size} bytes instead of {written['bytes']}")
        if kind == "score":
            _columns(_intact(file, written))
        elif written is None:
            _check_header(file)

    def _damage(self, kind: str, step_id: str, name: str, reason: str) -> StoreDamaged:
        file = self.path(kind, step_id) / name
        return StoreDamaged(
            (kind, step_id),
            f"{file} {reason}: the step counts as missing, and the next `potemkin run` makes it again",
        )

    def _tell(self, damage: StoreDamaged) -> None:
        if damage.key not in self._told:
            self._told.add(damage.key)
            self._notice(damage.reason)

    @property
    def damaged(self) -> bool:
        """Whether a step has turned out to be damaged when its content was read, and was not made again."""
        return bool(self._lost)

    def lose(self, damage: StoreDamaged) -> None:
        """Counts a step as missing from now on."""
        self._lost.add(damage.key)
        self._tell(damage)

    def records(self, kind: str) -> Iterator[Record]:
        """Records of all finished steps of a kind."""
        folder = self.folder / kind
        for step in sorted(folder.iterdir()) if folder.is_dir() else ():
            record = self.record(kind, step.name) if step.is_dir() else None
            if record is not None:
                yield record

    def tensors(self, kind: str, step_id: str) -> dict[str, Tensor]:
        """What a step that ended ok has stored.

        Raises:
            StoreDamaged: it is missing, or not what was written.
        """
        content = self._content(kind, step_id, _TENSORS)
        try:
            return safetensors.torch.load(content)
        except Exception as error:  # whatever the parser makes of it
            damage = self._damage(kind, step_id, _TENSORS, f"is no file of safetensors ({error})")
            raise damage from None

    def samples(self, step_id: str) -> dict[str, list[Any]]:
        """Columns of a scored cell.

        Raises:
            StoreDamaged: they are missing, or not what was written.
        """
        content = self._content("score", step_id, _SAMPLES)
        try:
            return _columns(content)
        except Damaged as fault:
            raise self._damage("score", step_id, _SAMPLES, str(fault)) from None

    def _content(self, kind: str, step_id: str, name: str) -> bytes:
        """A file beside a record, if it is what was written."""
        record = self._looked_up(kind, step_id)
        if record is None:
            raise self._damage(kind, step_id, _RECORD, "is missing")
        try:
            return _intact(self.path(kind, step_id) / name, record.get("files", {}).get(name))
        except Damaged as fault:
            raise self._damage(kind, step_id, name, str(fault)) from None
        except OSError as error:
            raise self._damage(kind, step_id, name, f"cannot be read: {error.strerror or error}") from None

    def content_sha256(self, kind: str, step_id: str) -> str:
        """SHA-256 of what lies beside the record of a step that ended ok, as its record has it.

        Raises:
            StoreDamaged: the record has none, and the file cannot be read.
        """
        record = self._looked_up(kind, step_id) or {}
        told = record.get("files", {}).get(_HELD[kind])
        content = b"" if told else self._content(kind, step_id, _HELD[kind])
        return str(told["sha256"]) if told else hashlib.sha256(content).hexdigest()

    def files(self, kind: str, step_id: str) -> dict[str, bytes]:
        """What lies beside the record of a finished step, by name, if it is what was written.

        Raises:
            StoreDamaged: it is missing, or not what was written.
        """
        record = self._looked_up(kind, step_id)
        if record is not None and record["status"] != "ok":
            return {}
        return {_HELD[kind]: self._content(kind, step_id, _HELD[kind])}

    def begin(self) -> Path:
        """A new folder to write a step into."""
        folder = self.folder / "tmp" / f"{os.getpid()}-{uuid.uuid4().hex}"
        with writing(folder, _OPTION):
            folder.mkdir(parents=True)
        return folder

    def commit(self, aside: Path, kind: str, step_id: str, record: Record, anew: bool = False) -> None:
        """Renames a written folder into place.

        A step that ended ok stays as it is: another run on the same store has made the same meanwhile. One
        made ``anew`` replaces it.

        Raises:
            CannotWrite: the disk is full, or takes no files.
        """
        place = self.path(kind, step_id)
        with writing(place, _OPTION):
            files = {file.name: _described(file) for file in sorted(aside.iterdir()) if file.is_file()}
            write_json(aside / _RECORD, sealed({**record, "files": files} if files else record))
            place.parent.mkdir(parents=True, exist_ok=True)
            while not self._put(aside, place, kind, step_id, anew):
                pass
        self._lost.discard((kind, step_id))

    def _put(self, aside: Path, place: Path, kind: str, step_id: str, anew: bool) -> bool:
        """Renames the folder, and clears away what it replaces; False where another process was quicker."""
        if not os.path.lexists(place):
            try:
                os.replace(aside, place)
            except OSError:
                if os.path.lexists(place):
                    return False
                raise
            return True
        known = self.record(kind, step_id)
        if not anew and known is not None and known["status"] == "ok":
            self.discard(aside)
            return True
        old = self.begin()
        try:
            os.replace(place, old / "old")
        except FileNotFoundError:
            return False
        finally:
            self.discard(old)
        return False

    def discard(self, aside: Path) -> None:
        """Forgets a folder that was begun."""
        shutil.rmtree(aside, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what processes that are gone have left half-written."""
        folder = self.folder / "tmp"
        for aside in folder.iterdir() if folder.is_dir() else ():
            owner = aside.name.split("-")[0]
            known = owner.isascii() and owner.isdigit() and len(owner) < 10
            if not known or not psutil.pid_exists(int(owner)):
                shutil.rmtree(aside, ignore_errors=True)


def _described(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _intact(file: Path, written: dict[str, Any] | None) -> bytes:
    """A file's content, if it is what was written; a record of an older release does not say what was."""
    content = file.read_bytes()
    if written is not None and hashlib.sha256(content).hexdigest() != written["sha256"]:
        raise Damaged("is not what was written (its SHA-256 is another)")
    return content


def _check_header(file: Path) -> None:
    """Whether a file has the length that a header of safetensors tells."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        size = file.stat().st_size
        try:
            header = json.loads(opened.read(length)) if length < size else {}
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            whole = 8 + length + max(ends, default=0) == size
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            whole = False
    if not whole:
        raise Damaged("is no whole file of safetensors")


def _columns(content: bytes) -> dict[str, list[Any]]:
    """Columns of a scored cell; all of one length."""
    try:
        columns = json.loads(content)
    except (ValueError, RecursionError):
        raise Damaged("is not JSON") from None
    if not isinstance(columns, dict) or not all(isinstance(column, list) for column in columns.values()):
        raise Damaged("holds no columns")
    if len({len(column) for column in columns.values()}) > 1:
        raise Damaged("holds columns of different lengths")
    return columns


def write_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Stores named tensors in a folder.

    Raises:
        CannotWrite: the disk is full, or takes no files.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with writing(folder / _TENSORS, _OPTION):
        write_whole(folder / _TENSORS, safetensors.torch.save(plain))


def write_samples(folder: Path, columns: dict[str, list[Any]]) -> None:
    """Stores a cell's columns in a folder.

    Raises:
        CannotWrite: the disk is full, or takes no files.
    """
    with writing(folder / _SAMPLES, _OPTION):
        write_json(folder / _SAMPLES, columns)


def write_json(path: Path, value: Any) -> None:
    """JSON in full precision; the file is complete or absent."""
    write_whole(path, json.dumps(value, indent=1, sort_keys=True).encode())


def release(version: str = torch.__version__) -> str:
    """Torch's release without its build: ``2.15.0+cu132`` is ``2.15.0``."""
    return version.split("+")[0]
