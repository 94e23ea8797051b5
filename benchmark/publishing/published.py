"""Published boards are what their samples give: rebuilt from the files beside them, and differences are told.

A published suite is a folder ``results/published/SUITE`` with ``cells.csv``, ``samples.parquet`` and
``boards/*.csv``. Boards are rebuilt from these two tables as they are read back, so that anyone can do it
who has no more than the files and the project.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from benchmark.boards.board import build_boards
from benchmark.boards.columns import cost_table
from benchmark.boards.gates import control_violations
from benchmark.boards.results import write_table
from benchmark.boards.tables import Tables
from benchmark.boards.values import CASE
from benchmark.errors import PotemkinError, in_a_line, unknown
from benchmark.publishing.reading import CELLS, SAMPLES, read_cells, read_samples
from benchmark.running.registry import Entry

PLACE = Path("results") / "published"
"""Folder of the published suites, below the project's root."""
TOLERANCE = 1e-9
"""Numbers that differ by no more, absolutely or relatively, are the same: machines round differently."""

BOARDS = "boards"
_NAMES = ("track", "task", "attack", "hardening", "detector", "repair", "defense", "mode", "method", "step")
_COORDINATES = ("track", "task", "attack", "defense", "mode", "seed")


def published_suites(root: Path) -> list[str]:
    """Names of the published suites, sorted."""
    folder = root / PLACE
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def published_folder(root: Path, suite: str) -> Path:
    """Folder of a published suite; raises ``TaskError`` where it is not published."""
    if suite not in published_suites(root):
        raise unknown("published suite", suite, published_suites(root))
    return root / PLACE / suite


def read_tables(folder: Path, methods: Mapping[str, Entry]) -> Tables:
    """Cells and samples of a folder of results, as read back from its files.

    Args:
        folder: holds ``cells.csv`` and ``samples.parquet``.
        methods: the project's methods, by variant.

    Raises:
        PotemkinError: a file is missing or cannot be read, or a column is; the text names it.
    """
    for name in (CELLS, SAMPLES):
        if not (folder / name).is_file():
            raise PotemkinError(f"{folder} holds no {name}: finish `potemkin run {folder.name}` first")
    return Tables(read_cells(folder / CELLS), read_samples(folder / SAMPLES), dict(methods))


def rebuilt(tables: Tables) -> dict[str, pd.DataFrame]:
    """All boards by name, with ``costs``: what a folder of boards has to hold, and nothing else.

    Raises:
        PotemkinError: the tables contradict each other so far that no board can be made of them.
    """
    try:
        return {**build_boards(tables), "costs": cost_table(tables)}
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {in_a_line(error)}"
        raise PotemkinError(
            f"{CELLS} and {SAMPLES} do not fit each other, so that no boards can be made ({reason}): write "
            "both anew with `potemkin publish`"
        ) from error


def write_boards(tables: Tables, folder: Path) -> None:
    """Makes the boards of a folder of results those that its tables give; others are removed."""
    boards = rebuilt(tables)
    for name, board in boards.items():
        write_table(board, folder / BOARDS / f"{name}.csv")
    for file in (folder / BOARDS).glob("*.csv"):
        if file.stem not in boards:
            file.unlink()


def table_violations(tables: Tables) -> list[str]:
    """One sentence for everything in cells and samples that must not be published."""
    if foreign := foreign_methods(tables):
        return [f"method {name} is in the cells and not in the project: run anew" for name in foreign]
    if tables.samples.empty:
        return ["no cell has ended ok: there is nothing to publish"]
    found = [*_cell_violations(tables.cells), *_sample_violations(tables)]
    return [*found, *control_violations(tables)]


def violations(tables: Tables, folder: Path) -> list[str]:
    """One sentence for everything in a folder that must not be published: tables first, then boards."""
    return [*table_violations(tables), *(_board_violations(tables, folder) if boards_exist(tables) else ())]


def boards_exist(tables: Tables) -> bool:
    """Whether the tables give boards at all: samples, of methods that the project has."""
    return not (foreign_methods(tables) or tables.samples.empty)


def _board_violations(tables: Tables, folder: Path) -> list[str]:
    found = []
    boards = rebuilt(tables)
    present = {file.stem for file in (folder / BOARDS).glob("*.csv")}
    for name in sorted(boards.keys() | present):
        if name not in present:
            found.append(f"board {name}.csv is missing")
        elif name not in boards:
            found.append(f"board {name}.csv is none that the samples give")
        else:
            try:
                written = (folder / BOARDS / f"{name}.csv").read_text(encoding="utf-8")
                difference = _difference(written, boards[name].to_csv(index=False))
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                found.append(f"board {name}.csv cannot be read: {error}; write it anew with `--rebuild`")
                continue
            if difference:
                found.append(f"board {name}.csv differs from what its samples give: {difference}")
    return found


def foreign_methods(tables: Tables) -> list[str]:
    """Variants that the tables are about and the project does not have."""
    named = {*tables.cells["attack"], *tables.cells["defense"]}
    named |= {*tables.samples["attack"], *tables.samples["defense"]}
    return sorted(named - tables.methods.keys())


def _cell_violations(cells: pd.DataFrame) -> Iterator[str]:
    ran = cells[cells["commit"] != ""]
    commits = sorted(ran["commit"].unique())
    if len(commits) > 1:
        shown = ", ".join(commit[:12] for commit in commits)
        yield f"cells are from {len(commits)} commits ({shown}): run them all from one"
    unknown_commit = (cells["status"] == "ok") & (cells["commit"] == "")
    if unknown_commit.any():
        yield f"{_count(unknown_commit)} ran outside a commit: run from a clone of the project"
    dirty = cells["dirty"] == "True"
    if dirty.any():
        yield f"{_count(dirty)} ran in a dirty tree, {_first(cells[dirty])}: commit, then run anew"
    if (twice := cells["cell_id"].duplicated()).any():
        yield f"cells.csv has a cell twice, {_first(cells[twice])}"
    missing = cells["status"] == "missing"
    if missing.any():
        yield f"{_count(missing)} not finished, {_first(cells[missing])}: run the suite to its end"
    faulty = cells["blame"].isin(["infra", "task"])
    if faulty.any():
        yield f"{_count(faulty)} failed through no fault of a method, {_first(cells[faulty])}: run again"


def _sample_violations(tables: Tables) -> Iterator[str]:
    cells, samples = tables.cells, tables.samples
    ok = cells[cells["status"] == "ok"].drop_duplicates("cell_id").set_index("cell_id")
    foreign = samples[~samples["cell_id"].isin(ok.index)]
    for cell in foreign["cell_id"].unique():
        yield f"samples.parquet has samples of {cell}, which cells.csv lacks or which did not end ok"
    counts = samples.groupby("cell_id").size().reindex(ok.index, fill_value=0)
    wanted = ok["n"] * _samples_of_a_case(ok, counts)
    for cell in ok.index[counts != wanted]:
        has = f"{counts[cell]} samples, not {wanted[cell]}"
        yield f"cell {cell} ended ok with {ok['n'][cell]} cases and has {has}"
    twice = samples.duplicated(["cell_id", *CASE])
    for cell in samples[twice]["cell_id"].unique():
        yield f"cell {cell} has a case twice in samples.parquet"
    known = samples[samples["cell_id"].isin(ok.index)]
    for name in _COORDINATES:
        told = known["cell_id"].map(ok[name])
        for cell in known[told.to_numpy() != known[name].to_numpy()]["cell_id"].unique():
            yield f"cell {cell} has another {name} in samples.parquet than in cells.csv"


def _samples_of_a_case(ok: pd.DataFrame, counts: pd.Series) -> pd.Series:
    """Samples that every case of a cell has: one, or many where a case is a network judged by images.

    On track ``fairwashing`` it is as many as most of the task's cells have: a cell that lost some is told.
    """
    share = (counts // ok["n"].clip(lower=1)).clip(lower=1)
    most = share.groupby(ok["task"]).transform(lambda column: int(column.mode().max()))
    return most.where(ok["track"] == "fairwashing", 1).astype(int)


def _count(chosen: pd.Series) -> str:
    number = int(chosen.sum())
    return "1 cell" if number == 1 else f"{number} cells"


def _first(cells: pd.DataFrame) -> str:
    return "first " + " x ".join(str(cells.iloc[0][name]) for name in _COORDINATES[1:])


def _difference(written: str, given: str) -> str:
    """The first difference of two tables as CSV text in words, with the number of others; or nothing."""
    (head, *rows), (wanted_head, *wanted) = _rows(written), _rows(given)
    if head != wanted_head:
        gone = ", ".join(sorted(set(head) ^ set(wanted_head))) or "their order"
        return f"other columns ({gone})"
    names = [head.index(name) for name in _NAMES if name in head]
    if len(rows) != len(wanted):
        return f"it has {len(rows)} rows, and they give {len(wanted)}"
    found = []
    for row, other in zip(rows, wanted, strict=True):
        for column, (text, given_text) in enumerate(zip(row, other, strict=False)):
            if not _same(text, given_text):
                place = ", ".join(other[name] for name in names)
                found.append(f"row {place}, column {head[column]} reads {text!r}, they give {given_text!r}")
        if len(row) != len(other):
            found.append(f"row {', '.join(other[name] for name in names)} has {len(row)} fields")
    others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + others if found else ""


def _rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text)) if row] or [[]]


def _same(text: str, other: str) -> bool:
    """Whether two fields read the same, or as numbers that only rounding tells apart."""
    if text == other:
        return True
    try:
        return math.isclose(float(text), float(other), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    except ValueError:
        return False
