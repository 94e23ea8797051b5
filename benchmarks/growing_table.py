"""A CSV table that a measurement adds rows to, so that it goes on where it ended."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def known(file: Path | None, columns: Sequence[str]) -> set[tuple[str, ...]]:
    """What stands in some columns, row by row; nothing where there is no file."""
    if file is None or not file.exists():
        return set()
    with file.open(encoding="utf-8", newline="") as opened:
        return {tuple(row[name] for name in columns) for row in csv.DictReader(opened)}


def add(file: Path | None, fields: Sequence[str], row: Mapping[str, Any]) -> None:
    """Adds a row, below a header where it is the first; without a file the row is printed."""
    if file is None:
        csv.DictWriter(sys.stdout, fields).writerow(row)
        sys.stdout.flush()
        return
    fresh = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, fields)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
