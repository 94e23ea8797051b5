"""What is on record of a cell: its samples, how it ended, with what it was made, and what its id is made of.

Records come from folders of results (``cells.csv`` and ``samples.parquet``) and from stores. Results have the
numbers that are published; a store has every part of a cell's id. A cell of the results whose id is in the
store too is known by both.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.boards.results import POOL
from benchmark.errors import PotemkinError
from benchmark.publishing.reading import CELLS, SAMPLES, read_cells, read_samples
from benchmark.reproducing.history import made_at
from benchmark.running.cells import BETWEEN, POOLED, Cell
from benchmark.running.store import Record, Store

COORDINATES = ("task", "attack", "defense", "mode", "seed")
MADE = ("commit", "dirty", "torch", "device", "started")
_HOW = ("status", "blame", "culprit", "reason")
PERCEPTUAL = ("lpips", "stlpips")


@dataclass(frozen=True)
class Recorded:
    """A cell as it was.

    Args:
        id: its id then.
        coordinates: task, attack, defense, mode and seed.
        source: where the record lies, for a person.
        end: ``status``, ``blame``, ``culprit`` and ``reason``.
        made: ``commit``, ``dirty``, ``torch``, ``device`` and ``started``, as text.
        weights: of every perceptual metric, or why it is missing.
        parts: what the id was made of, as far as it is known.
        scoring: what its scores were made of, as far as it is known.
        samples: one row per case; empty where the cell did not end ok.
        pool: defenses that the forgeries of its pool were made against, in mode ``transfer``.
    """

    id: str
    coordinates: dict[str, str | int]
    source: str
    end: dict[str, str]
    made: dict[str, str]
    weights: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    scoring: dict[str, str] = field(default_factory=dict)
    samples: pd.DataFrame = field(default_factory=pd.DataFrame)
    pool: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its coordinates in words."""
        return " x ".join(str(self.coordinates[name]) for name in COORDINATES)

    def provenance(self) -> str:
        """With what it was made, in words."""
        commit = self.made["commit"][:12] or "none"
        dirty = " (tree with changes)" if self.made["dirty"] == "True" else ""
        words = [f"commit {commit}{dirty}", f"torch {self.made['torch']}", self.made["device"]]
        return ", ".join([*words, self.made["started"]])


_Candidate = tuple[str, dict[str, str | int], str, Callable[[], Recorded]]
"""Id, coordinates, when it was made, and the record itself, read when it is asked for."""


def find_recorded(query: list[str], folders: Iterable[Path], store: Store, root: Path) -> Recorded:
    """The one record that a query means.

    Args:
        query: a cell's id or its beginning; or the five words of its coordinates.
        folders: folders of results, asked in turn before the store; those without ``cells.csv`` are passed.
        store: finished steps.
        root: the project's root, which shown paths are relative to.

    Raises:
        PotemkinError: no record, or several, or a file that cannot be read.
    """
    if len(query) not in (1, len(COORDINATES)):
        raise PotemkinError(
            f"{' '.join(query)!r} is no cell: give an id, or the five words {' '.join(COORDINATES)}"
        )
    asked, known = [], list[_Candidate]()
    for folder in folders:
        asked.append(_shown(folder, root))
        if (folder / CELLS).is_file():
            known += (there := _in_results(folder, store, root))
            if found := _chosen(query, there):
                return found
    asked.append(_shown(store.folder, root))
    known += (there := _in_store(store, root))
    if found := _chosen(query, there):
        return found
    raise PotemkinError(
        f"no record of cell {' '.join(query)} in {', '.join(asked)}: {_misspelt(query, known)}give an id of "
        "a cells.csv, or name its folder by --results, or run the cell first"
    )


def _misspelt(query: list[str], known: Iterable[_Candidate]) -> str:
    """The first word of a query that no record has, with the closest that one has."""
    coordinates = [candidate[1] for candidate in known]
    for word, name in zip(query, COORDINATES, strict=False) if len(query) > 1 else ():
        there = {str(one[name]) for one in coordinates}
        if word not in there and (close := difflib.get_close_matches(word, sorted(there), n=1)):
            return f"for {name} {word!r}, did you mean {close[0]!r}? "
    return ""


def _chosen(query: list[str], candidates: Iterable[_Candidate]) -> Recorded | None:
    """The newest record of the one cell that the query means."""
    if len(query) == 1:
        found = [candidate for candidate in candidates if candidate[0].startswith(query[0])]
        if len({cell for cell, *_ in found}) > 1:
            raise PotemkinError(f"{len(found)} cells begin with {query[0]!r}: give more of the id")
    else:
        found = [c for c in candidates if [str(c[1][name]) for name in COORDINATES] == query]
    return max(found, key=lambda candidate: candidate[2])[3]() if found else None


def _in_results(folder: Path, store: Store, root: Path) -> list[_Candidate]:
    table = read_cells(folder / CELLS)
    names = [str(name) for name in table]
    rows = [dict(zip(names, values, strict=True)) for values in table.itertuples(index=False)]

    def load(row: dict[str, Any]) -> Callable[[], Recorded]:
        return lambda: _of_row(row, folder, store, root)

    return [(row["cell_id"], _coordinates(row), row["started"], load(row)) for row in rows]


def _of_row(row: dict[str, Any], folder: Path, store: Store, root: Path) -> Recorded:
    samples = pd.DataFrame()
    if row["status"] == "ok":
        samples = read_samples(folder / SAMPLES, str(row["cell_id"]))
        if samples.empty:
            raise PotemkinError(f"{_shown(folder / SAMPLES, root)} has no samples of cell {row['cell_id']}")
    judged = store.record("judge", row["cell_id"])
    known = {name: row[name] for name in ("weights", "data", "torch", "attack_code", "defense_code")}
    return Recorded(
        id=row["cell_id"],
        coordinates=_coordinates(row),
        source=_shown(folder, root),
        end={name: row[name] for name in _HOW},
        made={name: row[name] for name in MADE},
        weights={name: row[f"{name}_weights"] for name in PERCEPTUAL},
        parts=_parts(judged) if judged else known,
        samples=samples,
        pool=_names(row.get(POOL, "")),
    )


def _in_store(store: Store, root: Path) -> list[_Candidate]:
    def load(record: Record) -> Callable[[], Recorded]:
        return lambda: _of_record(record, store, root)

    records = list(store.records("judge"))
    return [(r["id"], r["coordinates"], r["started"], load(r)) for r in records]


def _of_record(judged: Record, store: Store, root: Path) -> Recorded:
    scored = [record for record in store.records("score") if record["parts"]["cell"] == judged["id"]]
    last = max(scored, key=lambda record: record["started"], default=None)
    end, samples = judged, pd.DataFrame()
    if judged["status"] == "ok":
        if last is None:
            raise PotemkinError(f"cell {judged['id']} has run and has no scores: `potemkin score` its suite")
        end = last
    if last is not None and last["status"] == "ok":
        samples = pd.DataFrame(store.samples(last["id"]))
    return Recorded(
        id=judged["id"],
        coordinates=judged["coordinates"],
        source=_shown(store.folder, root),
        end={name: end[name] for name in _HOW},
        made={name: str(judged[name]) for name in MADE},
        weights=last.get("weights", {}) if last else {},
        parts=_parts(judged),
        scoring=last["parts"] if last else {},
        samples=samples,
        pool=tuple(name.removeprefix(POOLED) for name in judged["parts"] if name.startswith(POOLED)),
    )


def completed(recorded: Recorded, cell: Cell, root: Path) -> Recorded:
    """The record with what git knows of its commit, where it names but a part of what its id was made of.

    Of a tree with changes that were not committed nobody knows more than the record.
    """
    if not recorded.made["commit"] or recorded.made["dirty"] == "True":
        return recorded
    if "task" in recorded.parts and recorded.scoring:
        return recorded
    made = made_at(recorded.made["commit"], cell, root)
    if made is None:
        return recorded
    known = {name: value for name, value in recorded.parts.items() if not name.endswith("_code")}
    return replace(recorded, parts={**made.parts, **known}, scoring=recorded.scoring or made.scoring)


def changes(recorded: Recorded, cell: Cell) -> list[str]:
    """What a cell is made of now that it was not made of then, in words.

    The release of torch is left out: a repetition under another one is a repetition all the same.
    """
    now = {**cell.forge_parts, **cell.judge.parts}
    for column, file in (("attack_code", cell.attack.file), ("defense_code", cell.defense.file)):
        if column in recorded.parts:  # results name two files, a store all of them
            code = "code " + "/".join(file.parts[-3:])
            now[column] = now.get(code, now.get("artefact", ""))
    found = _differing(recorded.parts, now) | _differing(
        _scoring(recorded.scoring), _scoring(cell.score.parts)
    )
    told = {
        "attack_code": "the attack's code",
        "defense_code": "the defense's code",
        "task": "the task",
        "scoring": "the task's metrics",
    }
    found = {name for name in found if name not in ("torch", "forgery") and not name.startswith(POOLED)}
    words = [told.get(n, n.replace("code ", "the code of ")) for n in sorted(found)]
    if not found and recorded.id != cell.id:
        words = ["something that the record does not name (other code, or the task)"]
    return words


def _differing(before: dict[str, str], now: dict[str, str]) -> set[str]:
    """Names of parts that are others: of those on record, and of new files where files are on record."""
    coded = any(name.startswith("code ") for name in before)
    names = before.keys() | {name for name in now if coded and name.startswith("code ")}
    return {name for name in names if before.get(name, "") != now.get(name, "")}


def _scoring(parts: dict[str, str]) -> dict[str, str]:
    """Parts of a score step's id that say how it scores, not what."""
    return {name: value for name, value in parts.items() if name not in ("cell", "reference", *PERCEPTUAL)}


def _names(pool: str) -> tuple[str, ...]:
    return tuple(pool.split(BETWEEN)) if pool else ()


def _parts(judged: Record) -> dict[str, str]:
    return {**judged.get("forge_parts", {}), **judged["parts"]}


def _coordinates(row: dict[str, Any]) -> dict[str, str | int]:
    return {name: row[name] for name in COORDINATES}


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
