"""Tables and sentences in documents that published boards give: written by one command, so that none drifts.

A document holds places such as ::

    <!-- board: quick/saliency/hardenings columns=protection,usefulness -->
    <!-- end -->

    <!-- board: quick/saliency/tasks rows=task,defense columns=pcc_target where=attack:dombrowski -->
    <!-- end -->

    <!-- words: quick/saliency -->
    <!-- end -->

What stands between the two lines is written from ``results/published``, and says from which suite, commit and
day. `potemkin publish` writes it, and `potemkin verify` refuses what differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from benchmark.boards.words import answer, with_interval
from benchmark.errors import PotemkinError
from benchmark.files.writing import write_whole
from benchmark.publishing.published import BOARDS, PLACE
from benchmark.publishing.reading import CELLS, read_cells

_DOCUMENTS = ("README.md", "docs/*.md", "results/README.md")
_BLOCK = re.compile(r"^<!-- (board|words): (\S+)([^\n]*?) -->\n(.*?)^<!-- end -->$", re.DOTALL | re.MULTILINE)
_RANKED = {"attacks": "attack", "hardenings": "hardening", "detectors": "detector", "repairs": "repair"}


@dataclass(frozen=True)
class Block:
    """A place in a document.

    Args:
        kind: ``board`` or ``words``.
        suite: whose results.
        track: of the boards.
        board: its name; empty for words.
        options: ``rows`` and ``columns``, lists of columns, and ``where``, a list of ``column:value``.
    """

    kind: str
    suite: str
    track: str
    board: str
    options: dict[str, list[str]]


def write_documents(root: Path, suite: str = "") -> list[str]:
    """Writes what published boards give into all documents; returns those that changed.

    Args:
        root: the project's root.
        suite: the only one whose places are written; empty for all.
    """
    changed = []
    for path, text, wanted in _documents(root, suite):
        if wanted != text:
            write_whole(path, wanted.encode())
            changed.append(path.relative_to(root).as_posix())
    return changed


def stale_documents(root: Path, suite: str = "") -> list[str]:
    """One sentence for every document that holds other numbers than the published boards."""
    return [
        f"{path.relative_to(root).as_posix()} differs from the published boards: {_first(text, wanted)}"
        for path, text, wanted in _documents(root, suite)
        if wanted != text
    ]


def _documents(root: Path, suite: str) -> Iterator[tuple[Path, str, str]]:
    """Every document, its text, and what it should be."""
    for pattern in _DOCUMENTS:
        for path in sorted(root.glob(pattern)):
            text = path.read_text(encoding="utf-8")
            yield path, text, _BLOCK.sub(_writer(root, path.name, suite), text)


def _writer(root: Path, name: str, suite: str) -> Callable[[re.Match[str]], str]:
    def written(match: re.Match[str]) -> str:
        block = _read(match, name)
        if suite and block.suite != suite:
            return match[0]
        head = match[0].splitlines()[0]
        return f"{head}\n{_content(root / PLACE / block.suite, block, name)}\n<!-- end -->"

    return written


def _read(match: re.Match[str], name: str) -> Block:
    kind, place, words = match[1], match[2].split("/"), match[3].split()
    options = {}
    for word in words:
        key, _, values = word.partition("=")
        options[key] = values.split(",")
    if len(place) != (3 if kind == "board" else 2) or options.keys() - {"rows", "columns", "where"}:
        raise PotemkinError(f"{name}: no place of a {kind} reads {match[2]}{match[3]}")
    return Block(kind, place[0], place[1], place[2] if kind == "board" else "", options)


def _content(folder: Path, block: Block, name: str) -> str:
    if not folder.is_dir():
        return f"Suite `{block.suite}` is not published."
    source, old = _source(folder, block.suite, block.track), _is_old(folder, block.track)
    if block.kind == "words":
        boards = {board: _board(folder, board, block.track) for board in _RANKED}
        if old:
            boards["hardenings"] = pd.DataFrame()
            source += " Hardenings were scored by other rules then."
        lines = [f"* {answer(_RANKED[board], rows)}" for board, rows in boards.items() if not rows.empty]
        return "\n".join([*lines, "", source])
    if old and block.board == "hardenings":
        source += " By other rules than those of now: scores of hardenings were one minus manipulation."
    board = _board(folder, block.board, block.track)
    for wanted in block.options.get("where", []):
        column, _, value = wanted.partition(":")
        board = board[_column(board, column, block, name).astype(str) == value]
    if board.empty:
        return f"Suite `{block.suite}` has no such rows."
    return f"{source}\n\n{_table(board, block, name)}"


def _is_old(folder: Path, track: str) -> bool:
    """Whether hardenings were scored before they had to tell anything."""
    hardenings = _board(folder, "hardenings", track)
    return not hardenings.empty and (
        "protection" not in hardenings or bool(hardenings["protection"].isna().all())
    )


def _board(folder: Path, name: str, track: str) -> pd.DataFrame:
    path = folder / BOARDS / f"{name}.csv"
    if not path.is_file():
        return pd.DataFrame()
    board = pd.read_csv(path)
    return board[board["track"] == track] if "track" in board else board


def _source(folder: Path, suite: str, track: str) -> str:
    """From which run it comes."""
    cells = read_cells(folder / CELLS)
    cells = cells[(cells["track"] == track) & (cells["commit"] != "")]
    if cells.empty:
        return f"Suite `{suite}`."
    day = datetime.fromisoformat(str(cells["started"].min()))
    tasks, by_task = cells["task"].nunique(), cells.groupby("task")["seed"].nunique()
    few, seeds = int(by_task.min()), int(by_task.max())
    every = f"{seeds}" if few == seeds else f"{few} to {seeds}"
    return (
        f"Suite `{suite}` at commit `{cells['commit'].iloc[0][:12]}`, {day.day} {day:%B %Y}, "
        f"{tasks} task{'s' if tasks > 1 else ''}, {every} attack seed{'s' if seeds > 1 else ''}."
    )


def _table(board: pd.DataFrame, block: Block, name: str) -> str:
    noun = _RANKED.get(block.board)
    keys = block.options.get("rows", [noun] if noun else ["attack", "defense", "mode"])
    columns = [*(["rank"] if noun else []), *keys, "score"]
    columns += [c for c in ("place", "tries", "seed_spread") if noun and _says(board, c)]
    columns += block.options.get("columns", [])
    for column in columns:
        _column(board, column, block, name)
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for _, row in board.iterrows():
        lines.append(f"| {' | '.join(_field(row, column) for column in columns)} |")
    return "\n".join(lines)


def _says(board: pd.DataFrame, column: str) -> bool:
    """Whether a column of a board is worth showing."""
    if column not in board or board[column].isna().all():
        return False
    return column != "tries" or bool(board[column].max() > 1)


def _column(board: pd.DataFrame, column: str, block: Block, name: str) -> pd.Series:
    if column not in board:
        raise PotemkinError(f"{name}: board {block.suite}/{block.board} has no column {column}")
    return board[column]


def _field(row: pd.Series, column: str) -> str:
    value = row[column]
    if column == "rank":
        return _rank(row)
    if pd.isna(value):
        return "" if column == "place" else "-"
    if isinstance(value, str):
        return f"`{value}`" if column in ("attack", "hardening", "detector", "repair", "defense") else value
    if column in ("tries", "n", "cases", "clusters"):
        return str(int(value))
    if column == "score" and "ci_low" in row:
        return with_interval(row, 2)
    low, high = _ends(column)
    digits = 3 if column.endswith("_rate") else 2
    if low in row and pd.notna(row[low]):
        return f"{value:.{digits}f} [{row[low]:.{digits}f}, {row[high]:.{digits}f}]"
    return f"{value:.{digits}f}"


def _ends(column: str) -> tuple[str, str]:
    """Columns of the ends of a rate's interval."""
    start = column.removesuffix("_rate")
    return f"{start}_low", f"{start}_high"


def _rank(row: pd.Series) -> str:
    if pd.isna(row["rank"]):
        return "control" if row["control"] else "-"
    rank, low, high = (int(row[name]) for name in ("rank", "rank_low", "rank_high"))
    return f"{rank}" if low == high else f"{rank} ({low}-{high})"


def _first(text: str, wanted: str) -> str:
    """The first line that differs, and how it should read."""
    lines, others = text.splitlines(), wanted.splitlines()
    for line, other in zip(lines, others, strict=False):
        if line != other:
            return f"it reads {line[:80]!r}, they give {other[:80]!r}"
    return f"it has {len(lines)} lines, they give {len(others)}"
