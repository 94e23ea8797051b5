"""A page's worth of facts about a task: network, data, budget, noise floor, cases, what was reached on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.errors import PotemkinError
from benchmark.files.yaml import read_mapping
from benchmark.publishing.site.methods import gallery_page
from benchmark.publishing.site.reading import Published
from benchmark.publishing.site.rows import Board, Row, family_of
from benchmark.tasks.parts import Task
from benchmark.tasks.task import load_task

_LEVELS = 255
"""Of a channel: budgets are told in these where they are a whole number of them."""


@dataclass(frozen=True)
class Bar:
    """A mean with its interval."""

    name: str
    family: str
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class Part:
    """What one suite found on a task.

    Args:
        suite: its name.
        commit: of the run.
        board: page of the track's boards.
        cells: page of the suite's cells.
        gallery: page of its pictures, or empty.
        rows: attacks without a defense, best first.
        attacks: columns of `cases`.
        cases: names, and mean manipulation by each attack, nan where it is not known.
    """

    suite: str
    commit: str
    board: str
    cells: str
    gallery: str
    rows: tuple[Bar, ...]
    attacks: tuple[str, ...]
    cases: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True)
class TaskPage:
    """What is known of a task.

    Args:
        id: its id.
        track: its track.
        title: one line, or empty.
        network: under attack; empty where the project does not have the task any more.
        explainer: by name.
        cases: how many.
        suites: that it is published in.
        facts: what it fixes, by name.
        text: of its file, or empty.
        floor: kind of defense, metric, largest change of a case and of a mean.
        parts: what each suite found.
    """

    id: str
    track: str
    title: str
    network: str
    explainer: str
    cases: int
    suites: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    text: str
    floor: tuple[tuple[str, str, float, float], ...]
    parts: tuple[Part, ...]


def task_page_name(task: str) -> str:
    """The file of a task's page, below the site."""
    return f"tasks/{task}.html"


def loaded_tasks(suites: Sequence[Published], root: Path) -> dict[str, Task]:
    """Published tasks that the project has, by id."""
    found = {}
    for task in dict.fromkeys(str(one) for suite in suites for one in suite.cells["task"].unique()):
        try:
            found[task] = load_task(task, root)
        except (PotemkinError, OSError):
            continue  # its page says so
    return found


def task_pages(
    suites: Sequence[Published],
    boards: Mapping[tuple[str, str], Sequence[Board]],
    tasks: Mapping[str, Task],
    root: Path,
    galleries: Mapping[tuple[str, str], Sequence[str]],
) -> list[TaskPage]:
    """A page for every published task, by id."""
    found: dict[str, list[Published]] = {}
    for suite in suites:
        for task in suite.cells["task"].unique():
            found.setdefault(str(task), []).append(suite)
    return [_page(task, own, boards, tasks.get(task), root, galleries) for task, own in sorted(found.items())]


def _page(
    task: str,
    suites: Sequence[Published],
    boards: Mapping[tuple[str, str], Sequence[Board]],
    loaded: Task | None,
    root: Path,
    galleries: Mapping[tuple[str, str], Sequence[str]],
) -> TaskPage:
    cells = suites[0].cells[suites[0].cells["task"] == task]
    first = cells.iloc[0]
    track, explainer = str(first["track"]), str(first.get("explainer", ""))
    file = root / "tasks" / f"{task}.yaml"
    return TaskPage(
        id=task,
        track=track,
        title=loaded.title if loaded else "",
        network=str(loaded.victim) if loaded else "",
        explainer=explainer,
        cases=int(cells["n"].max()),
        suites=tuple(suite.suite for suite in suites),
        facts=tuple(_facts(task, first, loaded, cells)),
        text=file.read_text(encoding="utf-8", errors="replace") if loaded else "",
        floor=tuple(_floor(task, int(first["task_version"]), root)) if loaded else (),
        parts=tuple(_part(task, track, suite, boards, galleries) for suite in suites),
    )


def _facts(task: str, cell: pd.Series, loaded: Task | None, cells: pd.DataFrame) -> list[tuple[str, str]]:
    facts = [("Track", str(cell["track"])), ("Version", f"{cell['task_version']} as published")]
    if loaded is None:
        return [*facts, ("Task", "the project does not have it any more")]
    fields: dict[str, Any] = loaded.model_dump(mode="json")
    if loaded.version != cell["task_version"]:
        facts[-1] = ("Version", f"{cell['task_version']} as published, now {loaded.version}")
    facts += [("Network", str(loaded.victim)), ("Data", str(loaded.data))]
    settings = _words(fields["explainer"].get("settings") or {})
    facts.append(("Explainer", f"{loaded.explainer.name}{f' ({settings})' if settings else ''}"))
    facts.append(("Cases", str(loaded.case_count)))
    facts.append(("Attack seeds", ", ".join(str(seed) for seed in sorted(cells["seed"].unique()))))
    for name in ("budget", "target", "constraints", "metrics", "calibration", "pools", "limits"):
        if fields.get(name):
            facts.append((name.capitalize(), _words(fields[name])))
    return facts


def _words(value: Any) -> str:
    """A part of a task in words: ``linf 32/255, explanations any``."""
    if isinstance(value, dict):
        return ", ".join(
            f"{name} {_words(item)}" for name, item in value.items() if item not in (None, [], {})
        )
    if isinstance(value, list):
        return " ".join(_words(item) for item in value)
    if isinstance(value, float) and 0 < value < 1:
        levels = Fraction(value * _LEVELS).limit_denominator(10**6)
        return f"{levels}/{_LEVELS}" if abs(value * _LEVELS - round(value * _LEVELS)) < 1e-9 else f"{value:g}"
    return str(value)


def _floor(task: str, version: int, root: Path) -> list[tuple[str, str, float, float]]:
    """The largest changes that were measured, of metrics that moved; nothing where there is no floor."""
    file = root / "tasks" / "noise" / f"{task}.yaml"
    if not file.is_file():
        return []
    try:
        fields = read_mapping(file, file.relative_to(root).as_posix())
        if fields.get("version") != version:
            return []
        return [
            (str(kind), str(metric), float(sizes["case_largest"]), float(sizes["mean_largest"]))
            for kind, part in fields["kinds"].items()
            for metric, sizes in part["metrics"].items()
            if metric in ("manipulation", "told", "pcc_target", "auroc")
        ]
    except (PotemkinError, KeyError, TypeError, ValueError, AttributeError):
        return []


def _part(
    task: str,
    track: str,
    suite: Published,
    boards: Mapping[tuple[str, str], Sequence[Board]],
    galleries: Mapping[tuple[str, str], Sequence[str]],
) -> Part:
    attacks = next((b.rows for b in boards[suite.suite, track] if b.name == "attacks"), ())
    names = tuple(row.name for row in attacks if not row.control)
    pictured = task in galleries.get((suite.suite, track), ())
    return Part(
        suite=suite.suite,
        commit=suite.source(track).commit,
        board=f"{suite.suite}/{track}.html",
        cells=f"{suite.suite}/cells.html",
        gallery=f"{suite.suite}/{gallery_page(task)}" if pictured else "",
        rows=tuple(_bars(task, track, suite, attacks)),
        attacks=names,
        cases=tuple(_cases(task, suite, names)),
    )


def _bars(task: str, track: str, suite: Published, attacks: Sequence[Row]) -> list[Bar]:
    table = suite.board("tasks", track)
    if table.empty or "task" not in table:
        return []
    here = table[(table["task"] == task) & (table["defense"] == "none") & (table["mode"] == "oblivious")]
    found = [
        Bar(str(row["attack"]), family_of(str(row["attack"])), *(float(row[n]) for n in _ENDS))
        for row in here.to_dict("records")
    ]
    known = {row.name for row in attacks}
    return sorted((bar for bar in found if bar.name in known), key=lambda bar: -bar.score)


_ENDS = ("score", "ci_low", "ci_high")


def _cases(task: str, suite: Published, attacks: Sequence[str]) -> list[tuple[str, tuple[float, ...]]]:
    samples = suite.samples
    chosen = (samples["task"] == task) & (samples["defense"] == "none") & (samples["mode"] == "oblivious")
    here = samples[chosen & samples["attack"].isin(attacks)]
    if here.empty:
        return []
    means = here.pivot_table("manipulation", "sample_id", "attack").reindex(columns=list(attacks))
    order = sorted(means.index, key=lambda name: (len(str(name)), str(name)))
    return [(str(name), tuple(float(value) for value in means.loc[name])) for name in order]
