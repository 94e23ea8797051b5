"""What a step's record is, and how one that was damaged is told from a whole one."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any, get_args

from benchmark.failures import Blame, Status

Record = dict[str, Any]

LARGEST = 2.0**53
"""Whole numbers beyond it are no counts of anything."""
_SEAL = "record_sha256"
_TEXTS = ("status", "blame", "reason", "culprit")
_KNOWN_TYPES = {
    "parts": dict,
    "forge_parts": dict,
    "coordinates": dict,
    "weights": dict,
    "files": dict,
    "started": str,
    "commit": str,
    "torch": str,
    "device": str,
    "containment": str,
}
"""Fields that whoever reads a record counts on, where they are there."""
_WANTED = ("parts", "coordinates", "started")


class Damaged(ValueError):
    """A file that is not what was written; the text goes on after the file's name."""


def sealed(record: Record) -> Record:
    """The record with a digest of all of it."""
    return {**record, _SEAL: _digest(record)}


def looked_through(text: bytes, kind: str, step_id: str) -> Record:
    """The record that a file's text holds, without its seal.

    A record of an older release has none; it is taken if it holds what is read of records.

    Raises:
        Damaged: the text is no record, or not that of the step.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged("is not JSON" if text else "is empty") from None
    if not isinstance(record, dict):
        raise Damaged("is no record")
    seal = record.pop(_SEAL, None)
    if seal is not None and seal != _digest(record):
        raise Damaged("is not what was written (its digest is another)")
    if record.get("kind", kind) != kind or record.get("id", step_id) != step_id:
        raise Damaged("is the record of another step")
    if problem := _problem(record):
        raise Damaged(f"is no record: {problem}")
    return record


def _problem(record: Record) -> str:
    """What is wrong with a record's fields, or nothing."""
    if record.get("status") not in get_args(Status) or record.get("blame") not in get_args(Blame):
        return "its status or blame is none"
    for name in _TEXTS:
        if not isinstance(record.get(name), str):
            return f"field {name} is no text"
    for name in _WANTED:
        if name not in record:
            return f"field {name} is missing"
    for name, kind in _KNOWN_TYPES.items():
        if name in record and not isinstance(record[name], kind):
            return f"field {name} is of another type"
    texts = (*record["parts"].values(), *record.get("forge_parts", {}).values())
    if not all(isinstance(text, str) for text in texts):
        return "field parts holds what is no text"
    described = record.get("files", {}).values()
    if not all(isinstance(file, dict) and {"bytes", "sha256"} <= file.keys() for file in described):
        return "field files describes none"
    return ""


def _digest(record: Record) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def counted(value: object) -> float | int | None:
    """A count, or seconds, or megabytes, as a record may hold them: not negative, and of a bounded size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    if value < 0:
        return None
    return value if value <= LARGEST else LARGEST
