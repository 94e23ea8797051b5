"""One folder per step, written aside and renamed: what is in the store is complete, whatever was killed.

Layout below the store's folder::

    forge/ID  reference/ID  judge/ID  score/ID     record.json, and tensors.safetensors or samples.json
    tmp/PID-...                                    steps being written

Tensors cross process borders as safetensors, never as pickles.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Record = dict[str, Any]
_RECORD, _TENSORS, _SAMPLES = "record.json", "tensors.safetensors", "samples.json"


class Store:
    """Finished steps on disk.

    Args:
        folder: made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, kind: str, step_id: str) -> Path:
        """Folder of a finished step."""
        return self.folder / kind / step_id

    def record(self, kind: str, step_id: str) -> Record | None:
        """The record of a finished step, or None."""
        try:
            text = (self.path(kind, step_id) / _RECORD).read_text(encoding="utf-8")
        except OSError:
            return None
        record: Record = json.loads(text)
        return record

    def records(self, kind: str) -> Iterator[Record]:
        """Records of all finished steps of a kind."""
        folder = self.folder / kind
        for step in sorted(folder.iterdir()) if folder.is_dir() else ():
            record = self.record(kind, step.name)
            if record is not None:
                yield record

    def tensors(self, kind: str, step_id: str) -> dict[str, Tensor]:
        """What a step that ended ok has stored."""
        return load_file(self.path(kind, step_id) / _TENSORS)

    def samples(self, step_id: str) -> dict[str, list[Any]]:
        """Columns of a scored cell."""
        text = (self.path("score", step_id) / _SAMPLES).read_text(encoding="utf-8")
        columns: dict[str, list[Any]] = json.loads(text)
        return columns

    def begin(self) -> Path:
        """A new folder to write a step into."""
        folder = self.folder / "tmp" / f"{os.getpid()}-{uuid.uuid4().hex}"
        folder.mkdir(parents=True)
        return folder

    def commit(self, aside: Path, kind: str, step_id: str, record: Record) -> None:
        """Renames a written folder into place; the newest complete one wins."""
        write_json(aside / _RECORD, record)
        place = self.path(kind, step_id)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            old = self.begin()
            os.replace(place, old / "old")
            os.replace(aside, place)
            shutil.rmtree(old)
        else:
            os.replace(aside, place)

    def discard(self, aside: Path) -> None:
        """Forgets a folder that was begun."""
        shutil.rmtree(aside, ignore_errors=True)

    def sweep(self) -> None:
        """Removes what processes that are gone have left half-written."""
        folder = self.folder / "tmp"
        for aside in folder.iterdir() if folder.is_dir() else ():
            owner = aside.name.split("-")[0]
            if not owner.isdigit() or not psutil.pid_exists(int(owner)):
                shutil.rmtree(aside, ignore_errors=True)


def write_tensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Stores named tensors in a folder."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, folder / _TENSORS)


def write_samples(folder: Path, columns: dict[str, list[Any]]) -> None:
    """Stores a cell's columns in a folder."""
    write_json(folder / _SAMPLES, columns)


def write_json(path: Path, value: Any) -> None:
    """JSON in full precision; the file is complete or absent."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    aside.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(aside, path)


def release(version: str = torch.__version__) -> str:
    """Torch's release without its build: ``2.15.0+cu132`` is ``2.15.0``."""
    return version.split("+")[0]
