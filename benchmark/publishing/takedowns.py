"""What attacks have taken down since a suite was published: a defense's worst case grows, and it is told.

A worst case is per case, over every admissible forgery, so that another attack, or a pool with more in it,
can only make it worse. What is taken away makes it better: that is told too, since nothing was mended by it.
Where cells that are in both publications have other values, or none is in both, nothing is told: scores then
differ by the rules or the harness.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.boards.statistics import scores
from benchmark.boards.tables import Tables
from benchmark.boards.values import CASE, Floats, as_lost, case_values, ranked_attacks, worst_values
from benchmark.files.writing import write_whole, writing

TAKEDOWNS = "takedowns.csv"
GREW = 0.01
"""By how much a case has to get worse to count: another machine's rounding is no takedown."""

_COLUMNS = {
    "hardening": ("manipulation", "told"),
    "detector": ("manipulation", "detected", "threshold"),
    "repair": ("manipulation", "told"),
}
"""What a kind's score is made of."""


@dataclass(frozen=True)
class Takedown:
    """An attack that makes a published defense's worst case worse.

    Args:
        track: of the board.
        kind: ``hardening``, ``detector`` or ``repair``.
        defense: variant.
        attack: variant.
        known: whether the attack was published before.
        cases: how many got worse, by `GREW` or more.
        of: cases that both are known of.
        before: the defense's score on these cases.
        after: its score with this attack as it is now, everything else being as it was.
        task: of the case that got worse most.
        sample: that case.
        seed: of the attack, on that case.
        case_before: what the defense kept of it, of 1.
        case_after: what is left.
    """

    track: str
    kind: str
    defense: str
    attack: str
    known: bool
    cases: int
    of: int
    before: float
    after: float
    task: str = ""
    sample: str = ""
    seed: int = 0
    case_before: float = 0.0
    case_after: float = 0.0

    def line(self) -> str:
        """In words."""
        attack = f"{self.attack}{'' if self.known else ' (new)'}"
        worst = f"; {self.case}" if self.task else ""
        return (
            f"takedown ({self.track}, {self.kind}): {attack} takes {self.defense} down, "
            f"worse on {self.cases} of {self.of} cases, score {self.before:.3f} -> {self.after:.3f}{worst}"
        )

    @property
    def case(self) -> str:
        """The case that got worse most, in words."""
        kept = f"{self.case_before:.3f} -> {self.case_after:.3f}"
        return f"most on {self.task}, case {self.sample}, seed {self.seed}: {kept}"


@dataclass(frozen=True)
class Relief:
    """A defense of unchanged code whose worst case has got better: something that was tried on it is gone."""

    track: str
    kind: str
    defense: str
    before: float
    after: float

    def line(self) -> str:
        """In words."""
        return (
            f"relief ({self.track}, {self.kind}): the worst case of {self.defense} is not as bad as it was, "
            f"score {self.before:.3f} -> {self.after:.3f}: what was tried on it before is no longer"
        )


def takedowns(before: Tables, after: Tables) -> list[Takedown]:
    """What takes down defenses that are in both tables with the same code, on cases of both; worst first."""
    found = [one for pair in _pairs(before, after) for one in _takedowns(*pair)]
    return sorted(found, key=lambda one: (one.track, one.kind, one.after - one.before, one.line()))


def reliefs(before: Tables, after: Tables) -> list[Relief]:
    """Defenses that are in both tables with the same code, and that score better now, on the same cases."""
    return [one for pair in _pairs(before, after) for one in _reliefs(*pair)]


def comparable(before: Tables, after: Tables) -> bool:
    """Whether anything can be told at all: see the top of this module."""
    return any(True for _ in _pairs(before, after))


def _pairs(before: Tables, after: Tables) -> Iterator[tuple[str, str, Tables, Tables]]:
    """Tables of every track and kind of defense, of tasks that are in both in the same version."""
    versions = [set(zip(t.cells["task"], t.cells["task_version"], strict=True)) for t in (before, after)]
    tasks = {task for task, _ in versions[0] & versions[1]}
    kept = []
    for tables in (before, after):
        cells, samples = (table[table["task"].isin(tasks)] for table in (tables.cells, tables.samples))
        kept.append(Tables(cells, samples, after.methods))
    for track in kept[0].cells["track"].unique():
        first, second = (tables.of_track(track) for tables in kept)
        for kind, columns in _COLUMNS.items():
            if _scored_alike(first.samples, second.samples, columns):
                yield track, kind, first.closed("attack"), second.closed("attack")


def _scored_alike(before: pd.DataFrame, after: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether cells that are in both have the same values: else it is rules, or the harness, that changed.

    Not those of pools, which are other ones when more of their forgeries have been made.
    """
    keys = ["cell_id", *CASE]
    before, after = (samples[samples["mode"] != "transfer"] for samples in (before, after))
    both = before.merge(after, on=keys, suffixes=("", "_after"))
    if both.empty:
        return False
    told = [name for name in columns if {name, f"{name}_after"} <= set(both)]
    shared = all((name in before) == (name in after) for name in columns)
    first, second = (both[[f"{name}{end}" for name in told]].to_numpy(float) for end in ("", "_after"))
    return shared and bool(np.allclose(first, second, rtol=0, atol=GREW / 10, equal_nan=True))


def _takedowns(track: str, kind: str, before: Tables, after: Tables) -> Iterator[Takedown]:
    known, now = ranked_attacks(before), as_lost(after, kind)
    for name, row, case in _unchanged(kind, before, after):
        for attack in ranked_attacks(after):
            value = 1 - worst_values(now, [attack], name, case)
            both = np.isfinite(row) & np.isfinite(value)
            worse = int((row[both] - value[both] >= GREW).sum())
            if worse:
                task = case["task"].to_numpy()[both]
                lower = np.minimum(row[both], value[both])
                ends = [float(scores(values[None], task)[0]) for values in (row[both], lower)]
                yield Takedown(
                    *(track, kind, name, attack),
                    known=attack in known,
                    cases=worse,
                    of=int(both.sum()),
                    before=ends[0],
                    after=ends[1],
                    **_most(row, value, case),
                )


def _most(before: Floats, after: Floats, case: pd.DataFrame) -> dict[str, Any]:
    """The case that got worse most: the first of those that did alike."""
    fall = np.where(np.isfinite(before) & np.isfinite(after), before - after, -np.inf)
    at = int(np.argmax(fall))
    row = case.iloc[at]
    return {
        **{"task": str(row["task"]), "sample": str(row["sample_id"]), "seed": int(row["seed"])},
        **{"case_before": float(before[at]), "case_after": float(after[at])},
    }


def _reliefs(track: str, kind: str, before: Tables, after: Tables) -> Iterator[Relief]:
    names, values, case_now = case_values(after, kind)
    columns = pd.MultiIndex.from_frame(case_now[CASE])
    now = pd.DataFrame(values, index=names, columns=columns)
    for name, row, case in _unchanged(kind, before, after):
        if name not in now.index:
            continue
        value = now.loc[name].reindex(pd.MultiIndex.from_frame(case[CASE])).to_numpy(float)
        both = np.isfinite(row) & np.isfinite(value)
        if not (value[both] - row[both] >= GREW).any():
            continue
        task = case["task"].to_numpy()[both]
        ends = [float(scores(values[None], task)[0]) for values in (row[both], value[both])]
        if ends[1] > ends[0]:
            yield Relief(track, kind, name, *ends)


def _unchanged(kind: str, before: Tables, after: Tables) -> Iterator[tuple[str, Floats, pd.DataFrame]]:
    """Defenses that are ranked and of the same code in both, with what they had on each case before."""
    names, values, case = case_values(before, kind)
    code = [dict(zip(t.cells["defense"], t.cells["defense_code"], strict=True)) for t in (before, after)]
    for name, row in zip(names, values, strict=True):
        if not before.methods[name].method.control and code[0][name] == code[1].get(name):
            yield name, row, case


def remember(found: Sequence[Takedown], file: Path, commit: str) -> None:
    """Adds takedowns to a table beside published boards, one row each, with the commit that shows them.

    Raises:
        CannotWrite: the disk is full, or takes no files.
    """
    if not found:
        return
    told = pd.DataFrame([{"commit": commit, **asdict(one)} for one in found])
    if file.exists():  # of an older release it may lack columns
        told = pd.concat([pd.read_csv(file, dtype=str, keep_default_na=False), told.astype(str)])
    with writing(file, "--out"):
        write_whole(file, told.to_csv(index=False).encode())
