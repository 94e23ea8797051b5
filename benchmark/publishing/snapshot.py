"""A publication in small: what it was made of and how its boards stood, without samples or cells.

It is what the history of a suite keeps of each publication, and all that two of them need to be compared
but for takedowns, which are told case by case.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from benchmark.publishing.reading import CELLS, SAMPLES
from benchmark.publishing.site.reading import RANKED, Published

_SHOWN = 16
"""Characters of a hash that tells code, weights and data apart."""


class Kept(BaseModel):
    """What is kept as JSON; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Standing(Kept):
    """A row of a board: score, interval, rank and the places that are left open; None where unknown."""

    name: str
    score: float | None = None
    low: float | None = None
    high: float | None = None
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None
    tie: int | None = None
    control: bool = False
    division: str = "closed"
    place: str = ""
    note: str = ""

    @property
    def words(self) -> str:
        """The rank in words: ``2 (1-3)``; ``no rank`` without one."""
        if self.rank is None:
            return "no rank"
        if self.rank_low == self.rank_high:
            return str(self.rank)
        return f"{self.rank} ({self.rank_low}-{self.rank_high})"


class Ranking(Kept):
    """A board of one track, best first."""

    track: str
    board: str
    rows: tuple[Standing, ...]


class Made(Kept):
    """A variant of a method: its kind, and a hash of its code (empty where no cell tells it)."""

    kind: str
    code: str


class Done(Kept):
    """A task: its version, and a hash of the network's weights and the data."""

    version: int
    of: str


class Snapshot(Kept):
    """A publication.

    Args:
        suite: its name.
        commit: that it was run from; empty where it is not known.
        started: when its first cell began, as in ISO 8601.
        torch: the release that it ran with.
        cells: how many.
        cells_sha256: of ``cells.csv``.
        samples_sha256: of ``samples.parquet``.
        tasks: by id.
        methods: variants by name.
        boards: those that rank.
    """

    suite: str
    commit: str
    started: str
    torch: str
    cells: int
    cells_sha256: str
    samples_sha256: str
    tasks: dict[str, Done]
    methods: dict[str, Made]
    boards: tuple[Ranking, ...]

    def is_of(self, other: Snapshot) -> bool:
        """Whether both are the same publication: the same cells and samples, byte by byte."""
        return self.hashes == other.hashes

    @property
    def hashes(self) -> tuple[str, str]:
        """SHA-256 of its cells and of its samples."""
        return self.cells_sha256, self.samples_sha256

    @property
    def title(self) -> str:
        """Suite, commit and day in a line."""
        return f"{self.suite} at commit {self.commit[:12] or 'unknown'}, {self.started[:10] or 'day unknown'}"


def snapshot_of(suite: Published) -> Snapshot:
    """A publication, or a folder of results, in small.

    Raises:
        OSError: a file cannot be read.
    """
    cells = suite.cells
    ran = cells[cells["commit"] != ""]
    cells_hash, samples_hash = hashes_of(suite.folder)
    return Snapshot(
        suite=suite.suite,
        commit=str(ran["commit"].iloc[0]) if len(ran) else "",
        started=str(ran["started"].min()) if len(ran) else "",
        torch=str(ran["torch"].iloc[0]) if len(ran) else "",
        cells=len(cells),
        cells_sha256=cells_hash,
        samples_sha256=samples_hash,
        tasks=_tasks(cells),
        methods=_methods(cells),
        boards=tuple(
            Ranking(track=track, board=name, rows=tuple(_standing(row, noun) for row in rows))
            for track in suite.tracks
            for name, noun in RANKED.items()
            if (rows := suite.board(name, track).to_dict("records"))
        ),
    )


def hashes_of(folder: Path) -> tuple[str, str]:
    """SHA-256 of the cells and of the samples of a folder of results; raises ``OSError``."""
    return _sha256(folder / CELLS), _sha256(folder / SAMPLES)


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _tasks(cells: pd.DataFrame) -> dict[str, Done]:
    found = {}
    for task, rows in cells.groupby("task", sort=True):
        made = sorted({*rows["weights"], *rows["data"]} - {""})
        of = hashlib.sha256("\n".join(made).encode()).hexdigest()[:_SHOWN] if made else ""
        found[str(task)] = Done(version=int(rows["task_version"].iloc[0]), of=of)
    return found


def _methods(cells: pd.DataFrame) -> dict[str, Made]:
    kinds = dict(zip(cells["defense"], cells["defense_kind"], strict=True))
    kinds |= dict.fromkeys(cells["attack"], "attack")
    code: dict[str, str] = {}
    for column in ("defense", "attack"):
        named = cells[cells[f"{column}_code"] != ""]
        code |= dict(zip(named[column], named[f"{column}_code"], strict=True))
    return {
        name: Made(kind=kind, code=str(code.get(name, ""))[:_SHOWN]) for name, kind in sorted(kinds.items())
    }


def _standing(row: dict[object, object], noun: str) -> Standing:
    named = {str(key): value for key, value in row.items()}
    return Standing(
        name=str(named[noun]),
        score=_number(named.get("score")),
        low=_number(named.get("ci_low")),
        high=_number(named.get("ci_high")),
        rank=_whole(named.get("rank")),
        rank_low=_whole(named.get("rank_low")),
        rank_high=_whole(named.get("rank_high")),
        tie=_whole(named.get("tie_group")),
        control=bool(named.get("control")),
        division=_text(named.get("division")) or "closed",
        place=_text(named.get("place")),
        note=_text(named.get("note")),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _whole(value: object) -> int | None:
    return None if (number := _number(value)) is None else int(number)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
