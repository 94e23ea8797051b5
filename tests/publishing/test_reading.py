"""Damaged tables are told in a sentence that names the file; sound ones are read whole."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from harness import ROOT, Project
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.boards.results import IDENTITY, VERDICT, write_table
from benchmark.errors import PotemkinError
from benchmark.publishing.published import read_tables, rebuilt
from benchmark.publishing.reading import CELLS, SAMPLES, read_cells, read_samples
from benchmark.reproducing.recorded import find_recorded
from benchmark.running.registry import Entry, find_methods
from benchmark.running.store import Store

FOLDER = ROOT / "results" / "published" / "smoke"
CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "blank lines": lambda whole: b"\n\n",
    "UTF-16": lambda whole: whole.decode("utf-8", "ignore").encode("utf-16"),
    "binary": lambda whole: bytes(range(256)) * 40,
    "nul": lambda whole: b"\0" * 4096,
    "head only": lambda whole: whole.split(b"\n")[0],
    "cut in a row": lambda whole: whole[: len(whole) // 2 - 7],
    "open quote": lambda whole: whole + b'"',
    "other separator": lambda whole: whole.replace(b",", b";"),
    "longer row": lambda whole: whole + b"x," * 200,
    "other table": lambda whole: b"a,b\n1,2\n",
    "page": lambda whole: b"<html>not found</html>",
}


@pytest.fixture(scope="module")
def methods() -> dict[str, Entry]:
    """The project's methods."""
    return {entry.variant: entry for entry in find_methods(ROOT).entries}


def copied(folder: Path) -> Path:
    """The published tables of suite smoke."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CELLS, SAMPLES):
        (folder / name).write_bytes((FOLDER / name).read_bytes())
    return folder


@pytest.mark.parametrize("name", [CELLS, SAMPLES])
@pytest.mark.parametrize("kind", CONTENTS)
def test_a_damaged_file_is_named(name: str, kind: str, tmp_path: Path, methods: dict[str, Entry]) -> None:
    folder = copied(tmp_path / "smoke")
    file = folder / name
    file.write_bytes(CONTENTS[kind](file.read_bytes()))
    if name == CELLS and kind == "cut in a row":
        file.write_bytes(file.read_bytes().rpartition(b"\n")[0] + b"\n0123,smoke,")
    with pytest.raises(PotemkinError, match=name) as told:
        read_tables(folder, methods)
        read_tables_of_nothing(folder)
    assert "\n" not in str(told.value)
    if name == CELLS:
        with pytest.raises(PotemkinError, match=name):
            find_recorded(["0123"], [folder], Store(tmp_path / "store"), tmp_path)


def read_tables_of_nothing(folder: Path) -> None:
    """A head alone is a table without rows, which nobody publishes."""
    if read_cells(folder / CELLS).empty:
        raise PotemkinError(f"{CELLS} has no rows")


@pytest.mark.parametrize("kind", ["empty", "UTF-16", "nul", "other table"])
def test_a_damaged_board_is_a_violation(kind: str, tmp_path: Path, published: Project) -> None:
    project = published.copy(tmp_path / "project")
    file = min((project.root / "results/published/tiny/boards").glob("*.csv"))
    file.write_bytes(CONTENTS[kind](file.read_bytes()))
    result = project.call("verify", "tiny")
    result.assert_no_traceback()
    assert result.code == 1 and f"board {file.name}" in result.err


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_no_damage_of_a_few_bytes_is_a_traceback(
    tmp_path: Path, methods: dict[str, Entry], draw: random.Random
) -> None:
    folder = copied(tmp_path / "smoke")
    file = folder / draw.choice((CELLS, SAMPLES))
    content = bytearray(file.read_bytes())
    for _ in range(draw.randint(1, 30)):
        at = draw.randrange(len(content))
        content[at : at + draw.randint(0, 3)] = bytes(draw.randrange(256) for _ in range(draw.randint(0, 3)))
    file.write_bytes(content)
    with contextlib.suppress(PotemkinError):
        read_tables(folder, methods)


@pytest.mark.parametrize("column", [*IDENTITY, *VERDICT])
def test_columns_of_another_type_are_no_traceback(
    column: str, tmp_path: Path, methods: dict[str, Entry]
) -> None:
    folder = copied(tmp_path / "smoke")
    samples = pd.read_parquet(folder / SAMPLES)
    samples[column] = [[1.5, None]] * len(samples)
    write_table(samples, folder / SAMPLES)
    with pytest.raises(PotemkinError, match=rf"samples\.parquet: column '{column}' holds"):
        read_tables(folder, methods)


def test_tables_that_contradict_each_other_are_told(methods: dict[str, Entry], tmp_path: Path) -> None:
    folder = copied(tmp_path / "smoke")
    tables = read_tables(folder, methods)
    tables.samples["manipulation"] = tables.samples["manipulation"].map(str)
    with pytest.raises(PotemkinError, match="do not fit each other"):
        rebuilt(tables)


@pytest.mark.parametrize("text", ["1e3", "9" * 40, "", "zero", "0x10", "1.0"])
def test_what_is_no_whole_number_is_told_with_column_and_line(text: str) -> None:
    table = pd.read_csv(FOLDER / CELLS, dtype=str, keep_default_na=False)
    table.loc[3, "seed"] = text
    with pytest.raises(PotemkinError, match=r"cells\.csv: column 'seed' of line 5 holds .*no whole number"):
        read_cells(io.StringIO(table.to_csv(index=False)))


def test_sound_tables_are_read_as_they_are() -> None:
    cells, samples = read_cells(FOLDER / CELLS), read_samples(FOLDER / SAMPLES)
    assert len(cells) == len(pd.read_csv(FOLDER / CELLS)) and cells["seed"].dtype == "int64"
    one = str(samples["cell_id"].iloc[0])
    assert read_samples(FOLDER / SAMPLES, one).equals(
        samples[samples["cell_id"] == one].reset_index(drop=True)
    )


def test_commands_say_it_in_one_line(published: Project, tmp_path: Path) -> None:
    project = published.copy(tmp_path / "project")
    (project.root / "results/published/tiny/cells.csv").write_bytes(b"")
    for words in (("verify",), ("reproduce", "0123", "--suite", "tiny")):
        result = project.call(*words)
        result.assert_no_traceback()
        assert result.code == 1 and "cells.csv is empty" in result.err
