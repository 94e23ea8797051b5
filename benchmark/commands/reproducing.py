"""The command `reproduce`: a cell again, from its record."""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.commands.cli import cores
from benchmark.commands.console import make_console, progress_bar
from benchmark.commands.running import gpus, threads_of
from benchmark.commands.session import check_harness
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.publishing.published import PLACE, published_suites
from benchmark.reproducing.noise import NoiseFloor, load_floor
from benchmark.reproducing.recorded import Recorded, changes, completed, find_recorded
from benchmark.reproducing.reproduce import Comparison, cell_of, compare, overall, repeat, undetermined
from benchmark.running.devices import chosen
from benchmark.running.runner import Settings
from benchmark.running.store import Store

_HEAD = ("metric", "recorded", "now", "case off", "covered", "mean off", "covered", "seeds", "verdict")
"""``covered`` by the noise floor; ``seeds``: standard deviation of a case over attack seeds."""
_LEAVES_FIRST = (7, 6, 5, 4)
"""Columns that a narrow terminal goes without: seeds, the mean, and what is covered of a case."""
_GAP = "  "
_WIDE = 200
"""Columns where the output is no terminal."""


def reproduce(options: argparse.Namespace) -> int:
    """Runs a cell again and says whether its numbers are reproduced; 0 where they are, or within noise."""
    root, console = locate_root(), make_console(stderr=True)
    check_harness(root)
    store = Store(
        options.store.resolve(),
        lambda line: console.print(f"damaged: {line}", style="red", markup=False, soft_wrap=True),
    )
    before = find_recorded(options.cell, _folders(options, root), store, root)
    if before.end["status"] == "skipped":
        raise PotemkinError(f"{before.name} was skipped and has no numbers: {before.end['reason']}")
    cell = cell_of(before, root)
    before = completed(before, cell, root)
    print(f"cell {before.id}: {before.name}")
    print(f"record: {before.source}, {before.provenance()}")
    changed = changes(before, cell)
    if changed:
        print(f"changed since: {', '.join(changed)}; this compares, it does not reproduce", flush=True)
    floor, lacking = load_floor(root, cell.task)
    settings = _settings(options, root)

    def once(title: str) -> Recorded:
        with progress_bar(console, title) as progress:
            return repeat(
                cell,
                settings,
                lambda line: console.print(f"failed: {line}", style="red", markup=False, soft_wrap=True),
                progress,
            )

    now = once("running")
    print(f"now: {now.provenance()}, {settings.threads} thread{'s'[: settings.threads > 1]}")
    print(_floor_line(floor, lacking, before, now))
    kind = floor.kinds.get(cell.defense.kind) if floor else None
    found = compare(before, now, kind)
    if overall(found) not in ("not compared", "reproduced") and not changed:
        again = once("running again")
        twice = compare(now, again, None if settings.device == "cpu" else kind)
        found = undetermined(found, twice)
        varies = overall(twice) == "different"
        print(f"second run of now: {'differs, so the method varies by itself' if varies else 'agrees'}")
    for line in _table(found, shutil.get_terminal_size((_WIDE, 0)).columns):
        print(line)
    print(_last_line(found, len(now.samples)))
    return int(overall(found) == "different")


def _folders(options: argparse.Namespace, root: Path) -> list[Path]:
    """Folders of results to look in: the one that was named, or the published and the user's own."""
    if options.results is not None:
        folder: Path = options.results.resolve()
        if not folder.is_dir():
            raise PotemkinError(f"--results {options.results}: no such folder; name one that holds cells.csv")
        return [folder]
    suites = [options.suite] if options.suite else ["quick", *published_suites(root)]
    own = options.out.resolve()
    return [folder for suite in dict.fromkeys(suites) for folder in (root / PLACE / suite, own / suite)]


def _settings(options: argparse.Namespace, root: Path) -> Settings:
    """As `run` would run."""
    (device,) = chosen(options.device, gpus())
    workers = options.workers or (cores() if device == "cpu" else 2)
    return Settings(root, device, workers, threads_of(options, device, workers))


def _floor_line(floor: NoiseFloor | None, lacking: str, before: Recorded, now: Recorded) -> str:
    """The noise floor that is used, or why none is, and what it does not cover."""
    if floor is None:
        return f"noise floor: none; {lacking}"
    lines = [f"noise floor: {floor.basis()}"]
    others = sorted({before.made["device"], now.made["device"]} - {floor.device})
    if others and not any(name.startswith("device") for name in floor.varied):
        lines.append(f"the floor was measured on {floor.device} only, not on {', '.join(others)}")
    releases = sorted({before.made["torch"], now.made["torch"]} - {floor.torch})
    if releases:
        lines.append(f"the floor was measured with torch {floor.torch}, not with {', '.join(releases)}")
    return "; ".join(lines)


def _table(found: Sequence[Comparison], width: int) -> Iterator[str]:
    """The comparisons as aligned lines; notes stand behind verdicts.

    Args:
        found: a comparison for every metric.
        width: characters that a line without its note may have; columns that do not fit are left out.
    """
    rows = [_HEAD, *(_row(comparison) for comparison in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    verdict = max((len(comparison.verdict) for comparison in found), default=0)
    shown = [column for column in range(len(widths)) if any(row[column] != "-" for row in rows[1:])]
    for column in _LEAVES_FIRST:
        if sum(widths[kept] + len(_GAP) for kept in shown) + verdict > width and column in shown:
            shown.remove(column)
    for row in rows:
        cells = [row[column].rjust(widths[column]) for column in shown[1:]]
        yield _GAP.join([row[0].ljust(widths[0]), *cells, row[-1]])


def _row(comparison: Comparison) -> tuple[str, ...]:
    case, mean = comparison.limits
    small = (comparison.case, case, comparison.mean, mean, comparison.seeds)
    note = f": {comparison.note}" if comparison.note else ""
    return (
        comparison.metric,
        *(_number(value, "6g") for value in (comparison.before, comparison.now)),
        *(_number(value, "2g") for value in small),
        f"{comparison.verdict}{note}",
    )


def _number(value: float, digits: str) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}}"


def _last_line(found: Sequence[Comparison], cases: int) -> str:
    verdict = overall(found)
    of = f"of {len(found)} metrics over {cases} cases"
    names = [comparison.metric for comparison in found if comparison.verdict == verdict]
    if verdict == "reproduced":
        return f"reproduced: {len(names)} {of}"
    return f"{verdict}: {', '.join(names)} ({len(names)} {of})"
