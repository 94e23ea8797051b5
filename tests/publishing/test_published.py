"""Published results are what their samples give, and every way of not being so has its own sentence."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from harness import ROOT, TASKS, Project, Result, git

from benchmark.api import Attack, Case, Detector, Forgery, Hardening
from benchmark.boards.tables import Tables
from benchmark.errors import PotemkinError
from benchmark.methods.base import Method
from benchmark.publishing.published import read_tables, table_violations, violations, write_boards
from benchmark.running.registry import Entry, find_methods


@pytest.fixture(scope="module")
def ran(first_run: tuple[Project, Result]) -> Project:
    """A project whose suite has run in a clean commit; do not write to it."""
    project, _ = first_run
    assert git(project.root, "status", "--porcelain") == "", "a run leaves the tree as it was"
    return project


@pytest.fixture
def project(published: Project, tmp_path: Path) -> Project:
    """A published project of the test's own."""
    return published.copy(tmp_path / "project")


def place(project: Project) -> Path:
    """Folder of the published suite."""
    return project.root / "results/published/tiny"


def verify(project: Project, *options: str) -> Result:
    """``potemkin verify`` of a project."""
    result = project.call("verify", *options)
    result.assert_no_traceback()
    return result


class _Attack(Attack):
    """Stands for the made-up attacks."""

    def forge(self, case: Case) -> Forgery:
        raise NotImplementedError


def entry(variant: str, method: type[Method]) -> Entry:
    """A variant as the registry has it."""
    return Entry(variant.partition("[")[0], variant, "", "", {}, Path(), method, foreign=variant == "push")


@pytest.fixture(scope="module")
def methods() -> dict[str, Entry]:
    """The controls, and stand-ins for the made-up methods: all that boards ask of these is their kind."""
    made: dict[str, type[Method]] = {"push": _Attack, "pull": _Attack, "gap": Detector}
    made |= {"soft[beta=2]": Hardening, "soft[beta=8]": Hardening}
    controls = {e.variant: e for e in find_methods(ROOT).entries if e.method.control}
    return controls | {variant: entry(variant, method) for variant, method in made.items()}


def complaints(project: Project, methods: dict[str, Entry]) -> list[str]:
    """What is wrong with the published suite."""
    return violations(read_tables(place(project), methods), place(project))


def cells_of(project: Project) -> pd.DataFrame:
    """The published cells, as text."""
    return pd.read_csv(place(project) / "cells.csv", dtype=str, keep_default_na=False)


def change_cells(project: Project, change: Callable[[pd.DataFrame], object]) -> None:
    """Edits the published cells."""
    cells = cells_of(project)
    change(cells)
    cells.to_csv(place(project) / "cells.csv", index=False)


def change_samples(project: Project, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Edits the published samples."""
    file = place(project) / "samples.parquet"
    change(pd.read_parquet(file)).to_parquet(file, index=False)


def test_what_is_published_is_the_run_and_verifies(ran: Project, published: Project) -> None:
    files = {
        path.relative_to(place(published)).as_posix()
        for path in place(published).rglob("*")
        if path.is_file()
    }
    boards = {"attacks", "hardenings", "detectors", "matrix", "tasks", "costs"}
    assert files == {
        *("cells.csv", "samples.parquet", "history/0001.json"),
        *(f"boards/{name}.csv" for name in boards),
        *(f"forgeries/{task}.npz" for task in TASKS),
    }
    for file in (name for name in files if not name.startswith(("forgeries/", "history/"))):
        # Boards made of the files read back are those made of the store.
        assert (place(published) / file).read_bytes() == (ran.root / "results/tiny" / file).read_bytes(), file
    untracked = git(published.root, "status", "--porcelain", "-uall").splitlines()
    assert set(untracked) == {f"?? results/published/tiny/{file}" for file in files}
    for options in ((), ("tiny",)):
        result = verify(published, *options)
        assert (result.code, result.err) == (0, "")
        assert result.last_line.startswith("tiny: ") and result.last_line.endswith("nothing amiss")


def test_an_edited_field_is_named_and_rebuilding_mends_it(
    project: Project, methods: dict[str, Entry]
) -> None:
    file = place(project) / "boards/attacks.csv"
    before = file.read_bytes()
    board = pd.read_csv(file)
    row = board.index[board["attack"] == "push"][0]
    board.loc[row, "score"] += 0.01
    board.to_csv(file, index=False)
    (line,) = complaints(project, methods)
    assert "board attacks.csv differs from what its samples give: row saliency, push, column score" in line
    told = verify(project)
    assert (told.code, told.err.strip()) == (1, f"tiny: {line}")
    assert told.last_line.endswith(": 1 violation")
    assert verify(project, "--rebuild").code == 0
    assert file.read_bytes() == before
    assert complaints(project, methods) == []


def test_rounding_is_no_difference_and_more_is(project: Project, methods: dict[str, Entry]) -> None:
    file = place(project) / "boards/attacks.csv"
    board = pd.read_csv(file)
    row = board.index[board["attack"] == "push"][0]
    exact = board.loc[row, "score"]
    board.loc[row, "score"] = exact + 1e-11
    board.to_csv(file, index=False)
    assert complaints(project, methods) == []
    board.loc[row, "score"] = exact + 1e-7
    board.to_csv(file, index=False)
    assert len(complaints(project, methods)) == 1


def test_a_missing_an_additional_and_a_shortened_board_are_named(
    project: Project, methods: dict[str, Entry]
) -> None:
    folder = place(project) / "boards"
    (folder / "matrix.csv").unlink()
    (folder / "favourites.csv").write_text("attack\npush\n", encoding="utf-8")
    lines = (folder / "tasks.csv").read_text(encoding="utf-8").splitlines()
    (folder / "tasks.csv").write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    board = pd.read_csv(folder / "hardenings.csv")
    board.drop(columns="score").to_csv(folder / "hardenings.csv", index=False)
    favourites, hardenings, matrix, tasks = complaints(project, methods)
    assert favourites.endswith("board favourites.csv is none that the samples give")
    assert "board hardenings.csv differs" in hardenings and "other columns (score)" in hardenings
    assert matrix.endswith("board matrix.csv is missing")
    assert f"it has {len(lines) - 2} rows, and they give {len(lines) - 1}" in tasks
    write_boards(read_tables(place(project), methods), place(project))
    assert complaints(project, methods) == []
    assert not (folder / "favourites.csv").exists()


def test_an_edited_sample_shows_in_the_boards(project: Project, methods: dict[str, Entry]) -> None:
    def better(samples: pd.DataFrame) -> pd.DataFrame:
        here = (samples["attack"] == "push") & (samples["defense"] == "none")
        samples.loc[samples.index[here][0], "manipulation"] += 0.001
        return samples

    change_samples(project, better)
    lines = complaints(project, methods)
    assert any("board attacks.csv differs" in line and "row saliency, push" in line for line in lines)
    assert all("differs from what its samples give" in line for line in lines)


def test_a_dirty_tree_and_two_commits_are_named(project: Project, methods: dict[str, Entry]) -> None:
    def spoil(cells: pd.DataFrame) -> None:
        first = cells.index[cells["attack"] == "push"][0]
        cells.loc[first, "dirty"] = "True"
        cells.loc[first + 1, "commit"] = "f" * 40

    change_cells(project, spoil)
    commits, dirty = complaints(project, methods)
    assert "cells are from 2 commits (" in commits and "f" * 12 in commits
    assert "1 cell ran in a dirty tree, first saliency/tiny-" in dirty and " x push x " in dirty


def test_a_control_out_of_bounds_is_named_and_nothing_is_published(
    project: Project, methods: dict[str, Entry]
) -> None:
    def forge(samples: pd.DataFrame) -> pd.DataFrame:
        samples.loc[samples["attack"] == "identity", "manipulation"] = 0.5
        return samples

    change_samples(project, forge)
    lines = [line for line in complaints(project, methods) if not line.startswith("board ")]
    assert lines and all("control identity" in line and "outside [" in line for line in lines)
    shutil.copy(place(project) / "samples.parquet", project.root / "results/tiny/samples.parquet")
    before = (place(project) / "boards/attacks.csv").read_bytes()
    refused = project.run("publish")
    assert refused.code == 1 and refused.messages_with("not published: control identity")
    assert (place(project) / "boards/attacks.csv").read_bytes() == before


def test_samples_that_do_not_fit_their_cells_are_named(project: Project, methods: dict[str, Entry]) -> None:
    cells = cells_of(project)
    ok = cells[(cells["status"] == "ok") & (cells["attack"] == "push")]["cell_id"]
    short, without, other = ok.iloc[0], ok.iloc[1], ok.iloc[2]

    def spoil(samples: pd.DataFrame) -> pd.DataFrame:
        at = samples.index[samples["cell_id"] == short]
        samples.loc[samples["cell_id"] == without, "cell_id"] = "0" * 24
        samples.loc[samples["cell_id"] == other, "mode"] = "unheard"
        kept: pd.DataFrame = samples[samples.index != at[0]]
        return kept

    change_samples(project, spoil)
    lines = [line for line in complaints(project, methods) if "board" not in line]
    assert any(f"samples of {'0' * 24}, which cells.csv lacks" in line for line in lines)
    assert any(f"cell {short} ended ok with 2 cases and has 1 samples" in line for line in lines)
    assert any(f"cell {without} ended ok with 2 cases and has 0 samples" in line for line in lines)
    assert any(f"cell {other} has another mode in samples.parquet" in line for line in lines)


def test_a_network_is_judged_by_many_images_and_one_that_is_gone_is_told() -> None:
    """Cases of track ``fairwashing`` have a sample for every image."""
    tables = read_tables(
        ROOT / "results/published/quick", {entry.variant: entry for entry in find_methods(ROOT).entries}
    )
    at = tables.samples.index[tables.samples["track"] == "fairwashing"][3]
    cell = tables.samples.loc[at, "cell_id"]
    assert not [line for line in table_violations(tables) if "samples" in line]
    less = Tables(tables.cells, tables.samples.drop(index=at), tables.methods)
    (line,) = [line for line in table_violations(less) if "samples" in line]
    assert line == f"cell {cell} ended ok with 1 cases and has 7 samples, not 8"


def test_a_method_that_has_left_the_project_is_named(project: Project) -> None:
    (project.root / "baselines/attacks/pull.py").unlink()
    told = verify(project, "--rebuild")
    assert told.code == 1 and "boards rebuilt" not in told.out
    assert told.err.strip() == "tiny: method pull is in the cells and not in the project: run anew"


def test_an_unfinished_run_is_not_published(ran: Project, tmp_path: Path) -> None:
    project = ran.copy(tmp_path / "project")
    victim = min(project.steps("judge"))
    shutil.rmtree(project.root / ".potemkin/judge" / victim)
    assert project.run("board").code == 0
    refused = project.run("publish")
    assert refused.code == 1 and refused.messages_with("1 cell not finished, first saliency/"), refused.err
    assert not place(project).exists()


def test_a_run_outside_a_commit_and_a_faulty_machine_are_named(
    project: Project, methods: dict[str, Entry]
) -> None:
    def spoil(cells: pd.DataFrame) -> None:
        cells.loc[cells["status"] == "ok", "commit"] = ""
        cells.loc[cells["status"] == "ok", "dirty"] = "False"
        first = cells.index[cells["status"] == "ok"][0]
        cells.loc[first, ["status", "blame", "n"]] = ["crashed", "infra", "0"]

    change_cells(project, spoil)
    lines = complaints(project, methods)
    assert any("cells ran outside a commit: run from a clone" in line for line in lines)
    assert any("1 cell failed through no fault of a method, first saliency/" in line for line in lines)
    assert any("which cells.csv lacks or which did not end ok" in line for line in lines)


def test_what_is_not_there_is_one_clear_message(untouched: Project, published: Project) -> None:
    nothing = verify(untouched)
    assert nothing.code == 1 and "nothing is published in results/published" in nothing.err
    assert "potemkin publish quick" in nothing.err
    unknown = verify(published, "tinny")
    assert unknown.code == 1 and "did you mean 'tiny'" in unknown.err
    misspelt = untouched.call("publish", "tinny")
    assert misspelt.code == 1 and "did you mean 'tiny'" in misspelt.err
    refused = untouched.run("publish")
    refused.assert_no_traceback()
    assert refused.code == 1 and "holds no cells.csv: finish `potemkin run tiny`" in refused.err


def test_a_damaged_file_is_one_clear_message(project: Project, methods: dict[str, Entry]) -> None:
    samples, cells = place(project) / "samples.parquet", place(project) / "cells.csv"
    before = samples.read_bytes()
    samples.write_bytes(b"nothing")
    told = verify(project)
    assert told.code == 1 and "samples.parquet cannot be read" in told.err
    samples.write_bytes(before)
    change_samples(project, lambda table: table.drop(columns="manipulation"))
    with pytest.raises(PotemkinError, match=r"samples\.parquet has no column 'manipulation'"):
        read_tables(place(project), methods)
    samples.write_bytes(before)
    text = cells.read_text(encoding="utf-8")
    cells.write_text(text.replace("dirty", "clean", 1), encoding="utf-8")
    with pytest.raises(PotemkinError, match=r"cells\.csv has no column 'dirty'"):
        read_tables(place(project), methods)
    cells.write_text(text.replace(",oblivious,0,", ",oblivious,zero,", 1), encoding="utf-8")
    with pytest.raises(PotemkinError, match=r"cells\.csv: .*'zero'"):
        read_tables(place(project), methods)


def test_a_folder_that_is_no_suite_is_named_and_the_others_are_looked_at(project: Project) -> None:
    (project.root / "results" / "published" / "a-first").mkdir()
    result = verify(project)
    assert result.code == 1 and "a-first holds no cells.csv" in " ".join(result.err.split())
    assert "tiny: " in result.out and "nothing amiss" in result.out
