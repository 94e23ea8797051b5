"""Boards, lists and plans fit the terminal and cut no name; a run says where it stands, terminal or not."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from harness import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from benchmark.commands.console import duration, plan_table, progress_bar, show_boards
from benchmark.commands.grid import Column, Grid
from benchmark.running.timing import Standing

WIDTHS = (40, 60, 80, 100, 160)
NAMES = st.from_regex(
    r"[a-z][a-z0-9_]{0,70}(\[[a-z]{1,9}=[0-9.]{1,9}(,[a-z]{1,9}=[0-9.]{1,9}){0,4}\])?", fullmatch=True
)


def shown(width: int, *things: object) -> str:
    """What a console of a width prints."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False, highlight=False)
    for thing in things:
        console.print(thing)
    return out.getvalue()


def assert_fits(text: str, width: int) -> None:
    too_long = [line for line in text.splitlines() if len(line) > width]
    assert not too_long, too_long[:3]
    assert "…" not in text


def boards_of(suite: str) -> dict[str, pd.DataFrame]:
    folder = ROOT / "results" / "published" / suite / "boards"
    return {
        name: pd.read_csv(folder / f"{name}.csv") for name in ("attacks", "hardenings", "detectors", "matrix")
    }


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("suite", ["smoke", "quick"])
def test_published_boards_fit_and_cut_no_name_and_no_interval(suite: str, width: int) -> None:
    boards = boards_of(suite)
    out = io.StringIO()
    show_boards(Console(file=out, width=width, force_terminal=False), boards)
    text = out.getvalue()
    assert_fits(text, width)
    for noun in ("attack", "hardening", "detector"):
        for _, row in boards[f"{noun}s"].iterrows():
            assert row[noun] in text
            if not pd.isna(row["score"]):
                ends = f"{row['ci_low']:.3f}, {row['ci_high']:.3f}" if row["clusters"] > 1 else "one case"
                assert f"{row['score']:.3f} [{ends}]" in text


def test_columns_that_have_no_room_are_named() -> None:
    boards = boards_of("quick")
    out = io.StringIO()
    show_boards(Console(file=out, width=80, force_terminal=False), {"attacks": boards["attacks"]})
    said = " ".join(out.getvalue().split())
    assert "no room at 80 columns for: " in said and "they are in boards/attacks.csv" in said
    gone = re.findall(r"no room at 80 columns for: ([^;]*);", said)
    assert any("prediction kept" in names for names in gone)


@settings(max_examples=60, deadline=None)
@given(names=st.lists(NAMES, min_size=1, max_size=5, unique=True), width=st.sampled_from((20, *WIDTHS)))
def test_names_of_any_length_are_whole_or_folded(names: list[str], width: int) -> None:
    """Folded names are whole once line breaks and margins are taken out."""
    grid = Grid(
        (Column("rank", keep=True), Column("attack", keep=True), Column("score"), Column("SSIM")), name=1
    )
    listed = Grid((Column("attack"), Column("kind"), Column("paper", prose=True)), framed=False)
    states = [(name, other, "adaptive", "run") for name in names for other in names]
    matrix = pd.DataFrame(
        {"track": "t", "attack": a, "defense": b, "mode": "oblivious", "score": 0.25}
        for a in names
        for b in names
    )
    for name in names:
        grid.add("1", name, "0.123 [0.001, 0.456]", "0.5")
        listed.add(
            name,
            "attack",
            "Dombrowski et al., Explanations can be manipulated and geometry is to blame, 2019",
        )
    out = io.StringIO()
    show_boards(Console(file=out, width=width, force_terminal=False), {"matrix": matrix})
    for text in (shown(width, grid), shown(width, listed), shown(width, plan_table(states)), out.getvalue()):
        assert_fits(text, width)
        joined = re.sub(r"\s", "", text)
        for name in names:
            assert name in (text if len(name) <= width - 10 else joined)


def test_prose_is_wrapped_between_words() -> None:
    grid = Grid((Column("attack"), Column("paper", prose=True)), framed=False)
    grid.add("push", "Explanations can be manipulated and geometry is to blame, NeurIPS 2019")
    text = shown(40, grid)
    words = text.split()
    assert set(["Explanations", "manipulated", "geometry", "NeurIPS"]) <= set(words)
    assert text.splitlines()[0].split() == ["attack", "paper"]


def test_a_name_is_text_and_no_markup() -> None:
    grid = Grid((Column("attack"),))
    grid.add("beta[bold]x[/bold]")
    assert "beta[bold]x[/bold]" in shown(80, grid)


def test_without_a_terminal_a_line_comes_at_once_and_every_half_minute() -> None:
    out, now = io.StringIO(), [0.0]
    console = Console(file=out, width=200, force_terminal=False)
    with progress_bar(console, "running", lambda: now[0]) as progress:
        for second in range(100):
            now[0] = float(second)
            left = None if second < 5 else 300.0 - second
            progress(Standing(second / 300, second // 5, 57, float(second), left))
    lines = out.getvalue().splitlines()
    assert lines[0] == "running: 0 % of the work, 0 of 57 cells, 0 s gone"
    assert lines[1] == "running: 10 % of the work, 6 of 57 cells, 30 s gone, about 4 min left"
    assert len(lines) == 4


def test_on_a_terminal_there_is_a_bar_before_the_first_step() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system=None, legacy_windows=False)
    with progress_bar(console, "running") as progress:
        assert "starting workers" in out.getvalue()
        progress(Standing(0.4, 3, 9, 65.0, 100.0))
    assert "40 %" in out.getvalue() and "3 of 9 cells, 65 s gone, about 2 min left" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (42.0, "40 s"), (89.0, "90 s"), (100.0, "2 min"), (3600.0, "1 h"), (4900.0, "1 h 22 min")],
)
def test_times_are_no_finer_than_they_are_worth(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_width_that_the_environment_names_holds_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.commands.console import make_console

    monkeypatch.setenv("COLUMNS", "80")
    assert make_console().width == 80
    for odd in ("\u00b2", "0", "-3", "wide", ""):
        monkeypatch.setenv("COLUMNS", odd)
        assert make_console().width == 200
    monkeypatch.delenv("COLUMNS")
    assert make_console().width == 200
    assert Path(ROOT).is_dir()


def test_a_mode_that_has_no_cell_keeps_its_place_in_a_field() -> None:
    from benchmark.commands.console import _mapped, _matrix

    keys = ["attack", "defense", "mode", "score"]
    rows = [("a", "none", "oblivious", 0.25), ("a", "none", "transfer", 0.5), ("a", "b", "adaptive", 1.0)]
    board = pd.DataFrame(rows, columns=keys)
    grid = _matrix(board, _mapped(board))
    assert grid.rows == [(("a", "0.25 / - / 0.50", "- / 1.00 / -"), "")]
    alone = pd.DataFrame([("a", "d", "oblivious", 0.25, 0.5)], columns=[*keys, "auroc"])
    assert not _mapped(alone), "a detector shows no map"
