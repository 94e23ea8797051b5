"""``cells.csv`` and ``samples.parquet`` as read back: complete and of the right types, or a sentence.

Anyone may have opened them in between: a spreadsheet saves UTF-16, a full disk cuts, columns get lost.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import (
    is_bool_dtype,
    is_integer_dtype,
    is_numeric_dtype,
    is_object_dtype,
    is_string_dtype,
)

from benchmark.boards.results import IDENTITY, VERDICT
from benchmark.errors import PotemkinError, in_a_line

CELLS, SAMPLES = "cells.csv", "samples.parquet"
_WHOLE = ("task_version", "seed", "n")
_COUNTED = ("forwards", "backwards", "explanations", "seconds", "memory_mb")
_REAL = (*(f"{step}_{name}" for step in ("forge", "judge") for name in _COUNTED), "reference_seconds")
_LATER = ("forge_cpu_seconds", "judge_cpu_seconds")
"""Real numbers that older files lack."""
_TEXT = (
    *("cell_id", "track", "task", "attack", "defense", "defense_kind", "mode", "control"),
    *("status", "blame", "reason", "culprit", "device", "torch", "commit", "dirty", "started"),
    *("stlpips_weights", "lpips_weights", "weights", "data", "attack_code", "defense_code"),
)
_LARGEST = 2**63
_ANEW = "write it anew with `potemkin publish`, or `potemkin board` where it is your own"


def read_cells(file: Path | io.StringIO) -> pd.DataFrame:
    """``cells.csv`` as the boards need it: text stays text, ``dirty`` too, and empty numbers are nan.

    Raises:
        PotemkinError: it cannot be read, or a column is missing or holds what is no number; the text names
            the file.
    """
    name = str(file) if isinstance(file, Path) else CELLS
    try:
        cells = pd.read_csv(file, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        raise PotemkinError(f"{name} is empty: {_ANEW}") from None
    except UnicodeDecodeError:
        raise PotemkinError(f"{name} is no text in UTF-8: save it as CSV in UTF-8, or {_ANEW}") from None
    except Exception as error:  # parsers raise what they like at damaged files
        raise PotemkinError(f"{name} cannot be read as CSV: {_line(error)}; {_ANEW}") from None
    needed = (*_TEXT, *_WHOLE, *_REAL)
    if lacking := [column for column in needed if column not in cells]:
        raise PotemkinError(f"{name} has no column {lacking[0]!r}{_more(lacking)}: {_ANEW}")
    for column in _WHOLE:
        cells[column] = [_whole(text, name, column, row) for row, text in enumerate(cells[column])]
    for column in (
        *_REAL,
        *(c for c in _LATER if c in cells),
    ):  # Python's own reading is exact; that of pandas depends on its release
        cells[column] = [_real(text, name, column, row) for row, text in enumerate(cells[column])]
    cells["control"] = cells["control"] == "True"
    return cells


def read_samples(file: Path, cell_id: str | None = None) -> pd.DataFrame:
    """``samples.parquet``, or the samples of one cell.

    Raises:
        PotemkinError: it cannot be read, or a column is missing or of another type; the text names the file.
    """
    filters = None if cell_id is None else [("cell_id", "==", cell_id)]
    try:
        samples = pd.read_parquet(file, filters=filters)
    except Exception as error:  # parsers raise what they like at damaged files
        raise PotemkinError(f"{file} cannot be read as parquet: {_line(error)}; {_ANEW}") from None
    if lacking := [name for name in (*IDENTITY, *VERDICT) if name not in samples]:
        raise PotemkinError(f"{file} has no column {lacking[0]!r}{_more(lacking)}: {_ANEW}")
    for name in (*IDENTITY, *VERDICT):
        if len(samples) and not _fits(name, samples[name]):
            raise PotemkinError(f"{file}: column {name!r} holds {samples[name].dtype}: {_ANEW}")
    return samples


def _fits(name: str, column: pd.Series) -> bool:
    if name == "seed":
        return bool(is_integer_dtype(column))
    if name == "manipulation":
        return bool(is_numeric_dtype(column))
    if name == "valid":
        plain = is_bool_dtype(column) or is_numeric_dtype(column)
        return bool(plain or all(isinstance(one, bool) for one in column))
    return bool(is_string_dtype(column) or is_object_dtype(column)) and all(
        one is None or isinstance(one, str | float) for one in column
    )


def _whole(text: str, name: str, column: str, row: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = _LARGEST
    if not -_LARGEST < value < _LARGEST:
        raise PotemkinError(f"{name}: {_place(column, row)} holds {text[:40]!r}, no whole number: {_ANEW}")
    return value


def _real(text: str, name: str, column: str, row: int) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise PotemkinError(
            f"{name}: {_place(column, row)} holds {text[:40]!r}, no number: {_ANEW}"
        ) from None


def _place(column: str, row: int) -> str:
    return f"column {column!r} of line {row + 2}"


def _more(names: list[str]) -> str:
    return f" (and {len(names) - 1} others)" if len(names) > 1 else ""


def _line(error: Any) -> str:
    """An error in a line."""
    return in_a_line(error, 200) or type(error).__name__
