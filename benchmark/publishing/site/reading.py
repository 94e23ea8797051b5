"""Published suites as pages show them: boards with their numbers as they are in the files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import pandas as pd

from benchmark.errors import PotemkinError, in_a_line
from benchmark.publishing.published import BOARDS
from benchmark.publishing.reading import CELLS, SAMPLES, read_cells, read_samples
from benchmark.publishing.takedowns import TAKEDOWNS

RANKED = {"attacks": "attack", "hardenings": "hardening", "detectors": "detector", "repairs": "repair"}
"""Boards that rank, and the column of those that they rank."""
_TEXT = (*RANKED.values(), "track", "task", "defense", "mode", "method", "step", "note", "place", "division")
_TEXT_TOO = (*_TEXT, "best_defense", "false_positive_kind", "kind", "commit")


@dataclass(frozen=True)
class Source:
    """From which run a track's boards come; texts are empty where nothing is known.

    Args:
        commit: that it was run from.
        day: on which it began, in words.
        torch: the release that it ran with.
        device: on which networks ran.
        tasks: how many.
        seeds: of attacks, in words.
        cells: how many.
    """

    commit: str
    day: str
    torch: str
    device: str
    tasks: int
    seeds: str
    cells: int


@dataclass(frozen=True)
class Published:
    """A published suite.

    Args:
        suite: its name.
        folder: where it lies.
        cells: rows of ``cells.csv``.
        boards: by name, as they are in the files.
        takedowns: what each publication took down; without rows where nothing was.
    """

    suite: str
    folder: Path
    cells: pd.DataFrame
    boards: dict[str, pd.DataFrame]
    takedowns: pd.DataFrame

    @property
    def tracks(self) -> list[str]:
        """Tracks that it has cells of, in their order."""
        return [str(track) for track in self.cells["track"].unique()]

    def board(self, name: str, track: str) -> pd.DataFrame:
        """Rows of one track, with the columns of all; without rows where there is none."""
        board = self.boards.get(name, pd.DataFrame())
        if "track" not in board:
            return board
        return board[board["track"] == track].reset_index(drop=True)

    @cached_property
    def samples(self) -> pd.DataFrame:
        """Rows of ``samples.parquet``."""
        return read_samples(self.folder / SAMPLES)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """From which run the boards of each track come."""
        return {track: self._source(track) for track in self.tracks}

    def source(self, track: str) -> Source:
        """From which run the boards of a track come."""
        return self.sources[track]

    def _source(self, track: str) -> Source:
        cells = self.cells[self.cells["track"] == track]
        ran = cells[cells["commit"] != ""]
        first = ran.iloc[0] if len(ran) else dict.fromkeys(("commit", "torch", "device"), "")
        by_task = cells.groupby("task")["seed"].nunique()
        few, many = int(by_task.min()), int(by_task.max())
        seeds = f"{many}" if few == many else f"{few} to {many}"
        return Source(
            commit=str(first["commit"]),
            day=_day(str(ran["started"].min()) if len(ran) else ""),
            torch=str(first["torch"]),
            device=str(first["device"]),
            tasks=cells["task"].nunique(),
            seeds=seeds,
            cells=len(cells),
        )


def _day(text: str) -> str:
    """A day in words, from a time as in ISO 8601; as it is where it is none."""
    try:
        day = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{day.day} {day:%B %Y}"


def read_published(folder: Path) -> Published:
    """A published suite from its folder.

    Raises:
        PotemkinError: a file cannot be read; the text names it.
    """
    boards = {file.stem: _table(file) for file in sorted((folder / BOARDS).glob("*.csv"))}
    told = folder / TAKEDOWNS
    takedowns = _table(told) if told.is_file() else pd.DataFrame()
    return Published(folder.name, folder, read_cells(folder / CELLS), boards, takedowns)


def _table(file: Path) -> pd.DataFrame:
    """A table; texts stay texts, also where they read ``none`` or ``NA``, and empty numbers are nan."""
    try:
        head = pd.read_csv(file, nrows=0).columns
        texts = [name for name in head if name in _TEXT_TOO]
        numbers = {name: [""] for name in head if name not in texts}
        return pd.read_csv(
            file,
            dtype=dict.fromkeys(texts, str),
            na_values=numbers,
            keep_default_na=False,
            float_precision="round_trip",
        )
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = in_a_line(error)
        raise PotemkinError(
            f"{file} cannot be read ({reason}): `potemkin verify {file.parent.parent.name} --rebuild`"
        ) from error
