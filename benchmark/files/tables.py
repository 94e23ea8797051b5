"""A table of pictures and their classes gives every row, or an error that names the line."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Sequence
from pathlib import Path

from benchmark.errors import AssetError, nearest
from benchmark.files.class_folders import Classes, composed
from benchmark.files.pictures import EXTENSIONS

_LONGEST = 2**16
"""Letters of a field: more is another kind of file."""
_NAMED = 3


def pictures_of_table(file: Path, names: Sequence[str], path: str = "path", label: str = "label") -> Classes:
    """The pictures that a CSV file lists, by class; their paths are relative to the file's own folder.

    Args:
        file: UTF-8, with a header.
        names: of the classes, which the column of labels holds.
        path: the column of paths.
        label: the column of labels.

    Raises:
        AssetError: there is no such file, a column is missing, a label is no class, a picture is not there,
            or is told to be of two classes.
    """
    rows = _rows(file, (path, label))
    known = {composed(name): name for name in names}
    seen: dict[str, str] = {}
    missing: list[str] = []
    for line, (written, label_there) in rows:
        told = posixpath.normpath(written)  # ./x.jpg is x.jpg
        name = known.get(composed(label_there), label_there)
        if name not in names:
            near = nearest(name, sorted(names))
            hint = f": did you mean {near!r}?" if near else ""
            raise AssetError(f"{file}, line {line}: {name!r} is no class of the data set{hint}")
        if seen.setdefault(told, name) != name:
            raise AssetError(
                f"{file}, line {line}: {told} is of class {seen[told]!r} above, and {name!r} here"
            )
        place = file.parent / told
        if place.suffix.lower() not in EXTENSIONS or not place.is_file():
            missing.append(f"{told} (line {line})")
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        kinds = ", ".join(sorted(EXTENSIONS))
        raise AssetError(
            f"{file}: {', '.join(missing[:_NAMED])}{more} are no pictures in {file.parent}, whose names end "
            f"in {kinds}"
        )
    classes: Classes = {}
    for told, name in sorted(seen.items()):
        classes.setdefault(name, {})[told] = file.parent / told
    if not classes:
        raise AssetError(f"{file} lists no picture")
    return classes


def _rows(file: Path, columns: tuple[str, str]) -> list[tuple[int, tuple[str, str]]]:
    """Numbers of lines, and both fields of each."""
    if not file.is_file():
        raise AssetError(f"there is no table {file}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            csv.field_size_limit(_LONGEST)
            table = csv.DictReader(lines, strict=True)
            header = table.fieldnames or []
            for column in columns:
                if header.count(column) != 1:
                    found = ", ".join(header[:8]) or "nothing"
                    raise AssetError(f"{file} does not have one column {column!r}; its first line is {found}")
            return [(table.line_num, _fields(file, table.line_num, row, columns)) for row in table]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise AssetError(f"cannot read the table {file}: {error}; save it as CSV in UTF-8") from error


def _fields(file: Path, line: int, row: dict[str, str | None], columns: tuple[str, str]) -> tuple[str, str]:
    told = [(row[column] or "").strip() for column in columns]
    if not all(told):
        empty = columns[told.index("")]
        raise AssetError(f"{file}, line {line}: column {empty!r} is empty")
    return told[0], told[1]
