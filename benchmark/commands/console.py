"""What the terminal shows: plan, progress with time left, each failure once, boards as readable tables."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING

from rich.console import Console

from benchmark.commands.grid import Column, Grid

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.running.timing import Standing

_LINE_SECONDS = 30.0
"""How often a run says where it stands when its output is no terminal."""

_BESIDE = (("place", "place"), ("tie group", "tie_group"), ("tries", "tries"), ("sd of seeds", "seed_spread"))
_SHOWN = {
    "attacks": (
        *_BESIDE,
        ("under best defense", "score_best_defense"),
        ("PCC to target", "pcc_target"),
        ("SSIM to target", "ssim_target"),
        ("ST-LPIPS to target", "stlpips_target"),
        ("attack success", "attack_success"),
        ("trigger in top 2 %", "top_share"),
        ("PCC to trigger", "pcc_trigger"),
        ("PCC to original", "pcc_original"),
        ("prediction kept", "prediction_kept"),
        ("accuracy drop", "accuracy_drop"),
        ("Jaccard top", "jaccard_top"),
        ("others moved", "others_moved"),
    ),
    "hardenings": (
        *_BESIDE,
        ("told clean", "usefulness"),
        ("told attacked", "truth"),
        ("by occlusion", "told_occlusion"),
        ("protection", "protection"),
        ("oblivious", "manipulation_oblivious"),
        ("adaptive", "manipulation_adaptive"),
        ("transfer", "manipulation_transfer"),
        ("fidelity", "fidelity"),
        ("forwards", "forwards_per_sample"),
    ),
    "detectors": (
        *_BESIDE,
        ("AUROC", "auroc"),
        ("AUROC noised", "auroc_noised"),
        ("AUROC of classes", "auroc_classes"),
        ("class named", "target_named"),
        ("detection rate", "detection_rate"),
        ("adaptive", "detection_rate_adaptive"),
        ("false positives", "false_positive_rate"),
        ("at least", "false_positive_low"),
        ("at most", "false_positive_high"),
        ("alarms, clean training", "finetune_only_rate"),
        ("alarms, nothing done", "identity_rate"),
        ("forwards", "forwards_per_sample"),
    ),
    "repairs": (
        *_BESIDE,
        ("told clean", "usefulness"),
        ("told attacked", "truth"),
        ("left, oblivious", "manipulation_oblivious"),
        ("left, adaptive", "manipulation_adaptive"),
        ("accuracy lost", "repair_cost"),
        ("lost, clean", "repair_cost_clean"),
        ("change of weights", "repair_change"),
        ("forwards", "forwards_per_sample"),
    ),
}


_MODES = ("oblivious", "adaptive", "transfer")


def make_console(stderr: bool = False) -> Console:
    """A console that keeps tables whole when the output is a file; COLUMNS says how wide they may be."""
    width = os.environ.get("COLUMNS", "")
    told = width.isascii() and width.isdigit() and int(width[:9]) > 0
    known = {name: value for name, value in os.environ.items() if told or name != "COLUMNS"}
    console = Console(stderr=stderr, highlight=False, _environ=known)
    if not console.is_terminal and not told:
        console.width = 200
    return console


@contextmanager
def progress_bar(
    console: Console, title: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[Standing], None]]:
    """A function that shows where a run stands: as a bar, or without a terminal a line every half minute."""
    if not console.is_terminal:
        yield _Lines(console, title, clock)
        return
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[words]}"),
        console=console,
        expand=True,
    )
    with bar:
        line = bar.add_task("starting workers", total=1.0, words="")

        def show(now: Standing) -> None:
            words = _words(now).partition(", ")[2]
            bar.update(
                line, description=title if now.busy else "starting workers", completed=now.share, words=words
            )

        yield show


class _Lines:
    """Prints a line at the start, and another whenever half a minute has gone."""

    def __init__(self, console: Console, title: str, clock: Callable[[], float]) -> None:
        self._console = console
        self._title = title
        self._clock = clock
        self._next = clock()

    def __call__(self, now: Standing) -> None:
        if now.of and self._clock() >= self._next and now.share < 1:
            self._next = self._clock() + _LINE_SECONDS
            self._console.print(f"{self._title}: {_words(now)}", markup=False, soft_wrap=True)


def _words(now: Standing) -> str:
    share = f"{100 * now.share:.0f} % of the work"
    words = f"{share}, {now.cells} of {now.of} cells, {duration(now.gone)} gone"
    return words if now.left is None else f"{words}, about {duration(now.left)} left"


def duration(seconds: float) -> str:
    """A time in words, no finer than it is worth: ``40 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds < 10 else f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def show_boards(console: Console, boards: dict[str, pd.DataFrame]) -> None:
    """Every kind of method as a table, and the matrix of attacks and defenses, track by track."""
    from benchmark.boards.board import RULES  # here, since `list` shows no board and waits for no pandas
    from benchmark.boards.standings import STANDING
    from benchmark.boards.words import answer

    tracks = dict.fromkeys(track for board in boards.values() for track in board["track"])
    for track in tracks:
        own = {name: board[board["track"] == track] for name, board in boards.items()}
        own = {name: _filled(board, STANDING) for name, board in own.items() if not board.empty}
        console.print(f"[bold]Track {track}[/bold]")
        for name, columns in _SHOWN.items():
            if name in own:
                console.print(RULES[name], markup=False, overflow="fold")
                console.print(answer(name.removesuffix("s"), own[name]), markup=False, overflow="fold")
                console.print(_ranked(name, own[name], columns))
                for line in _notes(name, own[name]):
                    console.print(line, markup=False, overflow="fold")
        if "matrix" in own and (defenses := _mapped(own["matrix"])):
            console.print(
                f"{RULES['matrix']} Fields: {_modes(own['matrix'])}.", markup=False, overflow="fold"
            )
            console.print(_matrix(own["matrix"], defenses))


def _notes(name: str, board: pd.DataFrame) -> list[str]:
    """Why methods without a rank have none."""
    if "note" not in board:
        return []
    noted = board[board["note"].fillna("") != ""]
    return [f"{row[name.removesuffix('s')]} has no rank: {row['note']}" for _, row in noted.iterrows()]


def _filled(board: pd.DataFrame, always: Sequence[str]) -> pd.DataFrame:
    """Without the columns that only other tracks have."""
    return board[[c for c in board if c in always or board[c].notna().any()]]


def _ranked(name: str, board: pd.DataFrame, columns: tuple[tuple[str, str], ...]) -> Grid:
    noun = name.removesuffix("s")
    shown = [(title, column) for title, column in columns if column in board]
    grid = Grid(
        (
            Column("rank", right=True, keep=True),
            Column(noun, keep=True),
            Column("score [95 % interval]", keep=True),
            *(Column(title, right=True) for title, _ in shown),
        ),
        name=1,
        where=f"boards/{name}.csv",
    )
    for _, row in board.iterrows():
        grid.add(
            _rank(row),
            str(row[noun]),
            _interval(row),
            *(_number(row[column]) for _, column in shown),
            style="dim" if row["control"] else "",
        )
    return grid


def _interval(row: pd.Series) -> str:
    if _is_none(row["score"]):
        return "-"
    from benchmark.boards.words import with_interval

    return with_interval(row, 3)


def _rank(row: pd.Series) -> str:
    if _is_none(row["rank"]):
        return "control" if row["control"] else "-"
    low, high = row["rank_low"], row["rank_high"]
    division = "open " if row.get("division") == "open" else ""
    return f"{division}{row['rank']}" if low == high else f"{division}{row['rank']} ({low}-{high})"


def _is_none(value: float) -> bool:
    """Whether a field of a board is empty."""
    import pandas as pd  # a board has brought it along

    return bool(pd.isna(value))


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if _is_none(value):
        return "-"
    if isinstance(value, Integral):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}"


def _mapped(board: pd.DataFrame) -> list[str]:
    """Defenses of a matrix that show maps; of detectors alone there is nothing to be seen in it."""
    return [str(d) for d in board["defense"].unique() if "auroc" not in board or _is_map(board, d)]


def _matrix(board: pd.DataFrame, defenses: Sequence[str]) -> Grid:
    """Attacks down, defenses across, the modes in a field; a list per attack if narrow."""
    grid = Grid((Column("attack"), *(Column(defense, right=True) for defense in defenses)), drops=False)
    modes = [mode for mode in _MODES if mode in set(board["mode"])]
    for attack, rows in board.groupby("attack"):
        fields = []
        for defense in defenses:
            by_mode = rows[rows["defense"] == defense].set_index("mode")["score"]
            fields.append(" / ".join(f"{by_mode[m]:.2f}" if m in by_mode else "-" for m in modes))
        grid.add(str(attack), *fields)
    return grid


def _modes(matrix: pd.DataFrame) -> str:
    """What the fields of a matrix are, in their order."""
    seen = set(matrix["mode"])
    return " / ".join(mode for mode in _MODES if mode in seen)


def _is_map(board: pd.DataFrame, defense: str) -> bool:
    return bool(board.loc[board["defense"] == defense, "auroc"].isna().all())


def plan_table(states: Sequence[tuple[str, str, str, str]]) -> Grid:
    """Counts of cells per attack, defense and mode: what would run, what is at hand, what is skipped.

    ``states`` has one (attack, defense, mode, state) per cell.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for attack, defense, mode, state in states:
        counts.setdefault((attack, defense, mode), Counter())[state] += 1
    heads = {"run": "to run", "score": "to score", "hand": "at hand", "skip": "skipped", "fail": "failed"}
    seen = {state for counter in counts.values() for state in counter}
    shown = [state for state in heads if state in seen or state == "run"]
    grid = Grid(
        (
            *(Column(title) for title in ("attack", "defense", "mode")),
            *(Column(heads[state], right=True) for state in shown),
        ),
        drops=False,
    )
    for (attack, defense, mode), counter in counts.items():
        grid.add(attack, defense, mode, *(str(counter.get(state, "")) for state in shown))
    return grid
