"""What the terminal shows: plan, progress with time left, each failure once, boards as readable tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from benchmark.boards.board import RULES, STANDING
from benchmark.running.runner import Progress as Report

_SHOWN = {
    "attacks": (
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
        ("oblivious", "manipulation_oblivious"),
        ("adaptive", "manipulation_adaptive"),
        ("fidelity", "fidelity"),
        ("forwards", "forwards_per_sample"),
    ),
    "detectors": (
        ("AUROC", "auroc"),
        ("AUROC noised", "auroc_noised"),
        ("AUROC of classes", "auroc_classes"),
        ("class named", "target_named"),
        ("detection rate", "detection_rate"),
        ("false positives", "false_positive_rate"),
        ("forwards", "forwards_per_sample"),
    ),
}


def make_console(stderr: bool = False) -> Console:
    """A console that keeps tables whole when the output is a file."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.width = 200
    return console


@contextmanager
def progress_bar(console: Console, title: str) -> Iterator[Report]:
    """A bar with elapsed and remaining time; a function that moves it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        line = bar.add_task(title, total=1.0)
        yield lambda done, total: bar.update(line, completed=done, total=max(total, 1e-9))


def show_boards(console: Console, boards: dict[str, pd.DataFrame]) -> None:
    """Attacks, hardenings and detectors as tables, and the matrix of attacks and defenses, track by track."""
    tracks = dict.fromkeys(track for board in boards.values() for track in board["track"])
    for track in tracks:
        own = {name: board[board["track"] == track] for name, board in boards.items()}
        own = {name: _filled(board) for name, board in own.items() if not board.empty}
        console.print(f"[bold]Track {track}[/bold]")
        for name, columns in _SHOWN.items():
            if name in own:
                console.print(RULES[name], soft_wrap=True)
                console.print(_ranked(name, own[name], columns))
        if "matrix" in own:
            console.print(f"{RULES['matrix']} Fields: oblivious / adaptive.", soft_wrap=True)
            console.print(_matrix(own["matrix"]))


def _filled(board: pd.DataFrame) -> pd.DataFrame:
    """Without the columns that only other tracks have."""
    return board[[c for c in board if c in STANDING or board[c].notna().any()]]


def _ranked(name: str, board: pd.DataFrame, columns: tuple[tuple[str, str], ...]) -> Table:
    table = Table()
    table.add_column("rank", justify="right")
    table.add_column(name.removesuffix("s"))
    table.add_column("score [95 % interval]")
    shown = [(title, column) for title, column in columns if column in board]
    for title, _ in shown:
        table.add_column(title, justify="right")
    for _, row in board.iterrows():
        table.add_row(
            _rank(row),
            escape(str(row[name.removesuffix("s")])),
            _interval(row),
            *(_number(row[column]) for _, column in shown),
            style="dim" if row["control"] else "",
        )
    return table


def _interval(row: pd.Series) -> str:
    if pd.isna(row["score"]):
        return "-"
    return escape(f"{row['score']:.3f} [{row['ci_low']:.3f}, {row['ci_high']:.3f}]")


def _rank(row: pd.Series) -> str:
    if pd.isna(row["rank"]):
        return "control" if row["control"] else "-"
    low, high = row["rank_low"], row["rank_high"]
    division = "open " if row.get("division") == "open" else ""
    return f"{division}{row['rank']}" if low == high else f"{division}{row['rank']} ({low}-{high})"


def _number(value: float) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}"


def _matrix(board: pd.DataFrame) -> Table:
    """Attacks down, defenses across; oblivious / adaptive in a field."""
    table = Table()
    hardenings = [d for d in board["defense"].unique() if "auroc" not in board or _is_map(board, d)]
    table.add_column("attack")
    for defense in hardenings:
        table.add_column(escape(str(defense)), justify="right")
    for attack, rows in board.groupby("attack"):
        fields = []
        for defense in hardenings:
            by_mode = rows[rows["defense"] == defense].set_index("mode")["score"]
            fields.append(" / ".join(f"{by_mode[m]:.2f}" for m in ("oblivious", "adaptive") if m in by_mode))
        table.add_row(escape(str(attack)), *fields)
    return table


def _is_map(board: pd.DataFrame, defense: str) -> bool:
    return bool(board.loc[board["defense"] == defense, "auroc"].isna().all())


def plan_table(states: Sequence[tuple[str, str, str, str]]) -> Table:
    """Counts of cells per attack, defense and mode: what would run, what is at hand, what is skipped.

    ``states`` has one (attack, defense, mode, state) per cell.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for attack, defense, mode, state in states:
        counts.setdefault((attack, defense, mode), Counter())[state] += 1
    table = Table()
    for title in ("attack", "defense", "mode"):
        table.add_column(title)
    for title in ("to run", "to score", "at hand", "skipped", "failed"):
        table.add_column(title, justify="right")
    for (attack, defense, mode), counter in counts.items():
        fields = (str(counter.get(state, "")) for state in ("run", "score", "hand", "skip", "fail"))
        table.add_row(escape(attack), escape(defense), mode, *fields)
    return table
