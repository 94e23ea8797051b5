"""The paragraph beside exported boards: what was run and on what, as far as the published run records it."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from benchmark.publishing.site.reading import RANKED, Published


def about(suite: Published, tracks: list[str]) -> list[str]:
    """Sentences: suite, commit, day, tasks with versions, cases, seeds, hardware, and how scores are made.

    Args:
        suite: whose boards are shown.
        tracks: whose boards are shown.
    """
    cells = suite.cells[suite.cells["track"].isin(tracks)]
    ran = cells[cells["commit"] != ""]
    return [
        _run(suite, ran),
        _tasks(cells),
        *(_cases(suite, track, cells[cells["track"] == track]) for track in tracks),
        *_hardware(ran),
        "Scores are means over tasks of means over cases, between 0 and 1, with 95 % intervals over clusters "
        "of cases; ranks and ties are corrected for all pairs (Holm, 5 %).",
    ]


def _run(suite: Published, ran: pd.DataFrame) -> str:
    if ran.empty:
        return f"Suite {suite.suite} of the Potemkin benchmark; no cell of it has run."
    commits = ", ".join(sorted(set(ran["commit"])))
    days = sorted({str(started)[:10] for started in ran["started"]} - {""})
    when = f", begun on {days[0]}" if days else ""
    dirty = " with changes that are in no commit" if (ran["dirty"] == "True").any() else ""
    many = "s" if "," in commits else ""
    return f"Suite {suite.suite} of the Potemkin benchmark, commit{many} {commits}{dirty}{when}."


def _tasks(cells: pd.DataFrame) -> str:
    named = cells.drop_duplicates("task")
    tasks = [f"{row.task} (version {row.task_version})" for row in named.itertuples()]
    noun = "Task" if len(tasks) == 1 else "Tasks"
    return f"{noun}: {', '.join(tasks)}."


def _cases(suite: Published, track: str, cells: pd.DataFrame) -> str:
    """How many cases, clusters and seeds the boards of a track rest on, and how its cells ended."""
    rows = [board for name in RANKED if len(board := suite.board(name, track))]
    counts = {
        name: sorted({int(count) for board in rows if name in board for count in board[name].dropna()})
        for name in ("cases", "clusters")
    }
    seeds = ", ".join(str(seed) for seed in sorted(set(cells["seed"])))
    ends = cells["status"].value_counts()
    ended = ", ".join(f"{count} {status}" for status, count in ends.items())
    return (
        f"Track {track}: {_range(counts['cases'])} cases in {_range(counts['clusters'])} clusters a board, "
        f"attack seeds {seeds}; {len(cells)} cells ({ended})."
    )


def _range(counts: list[int]) -> str:
    if not counts:
        return "an unknown number of"
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def _hardware(ran: pd.DataFrame) -> Iterator[str]:
    if ran.empty:
        return
    judged = _told(ran, "device", "torch")
    forged = _told(ran, "forge_device", "forge_torch")
    elsewhere = f" Forgeries were made on {forged}." if forged and forged != judged else ""
    yield f"Run on {judged or 'an unknown device'}; no more of the hardware is recorded.{elsewhere}"


def _told(ran: pd.DataFrame, device: str, torch: str) -> str:
    if device not in ran or torch not in ran:
        return ""
    pairs = sorted({(str(a), str(b)) for a, b in zip(ran[device], ran[torch], strict=True) if a})
    return " and ".join(f"{a} with torch {b}" for a, b in pairs)
