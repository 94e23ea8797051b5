"""Commands that run nothing: `plan` and `why`."""

from __future__ import annotations

import argparse
import re

from benchmark.commands.console import duration, plan_table
from benchmark.commands.session import Session
from benchmark.errors import PotemkinError, unknown
from benchmark.reproducing.why import cell_lines
from benchmark.running.cells import Cell
from benchmark.running.cost import foretold
from benchmark.running.outcome import outcome_of
from benchmark.running.stale import latest_records, stale_reason
from benchmark.running.store import KINDS, Record, Store
from benchmark.running.timing import factors, past_steps

Key = tuple[str, str]
_ID = re.compile("[0-9a-f]{6,64}")
_TO_DO = ("run", "score")


def plan(options: argparse.Namespace) -> int:
    """Shows what a run would do."""
    session = Session(options)
    session.complain()
    if session.is_empty():
        return 1
    if not session.store.folder.is_dir():
        session.err.print(
            f"there is no store {session.store.folder} yet: nothing is at hand", markup=False, soft_wrap=True
        )
    latest = latest_records(session.store)
    known: dict[tuple[str, str], Record | None] = {}
    states, reasons = [], {}
    for cell in session.cells:
        state, reason = _state(cell, session.store, known, latest)
        states.append((cell.attack.variant, cell.defense.variant, cell.mode, state))
        reasons[cell.id] = (state, reason)
    if options.why:
        for cell in session.cells:
            state, reason = reasons[cell.id]
            name = " x ".join(str(part) for part in cell.coordinates.values())
            print(f"{cell.id}  {state:5}  {name}  {reason}".rstrip())
    else:
        session.out.print(plan_table(states))
        for told, words in (("run", "to run"), ("fail", "failed or cannot run")):
            for reason in sorted({reason for state, reason in reasons.values() if state == told}):
                session.out.print(f"{words}, {reason}", markup=False, soft_wrap=True)
        for line in _cost_lines(
            session, {id for id, (state, _) in reasons.items() if state in _TO_DO}, known
        ):
            session.out.print(line, markup=False, soft_wrap=True)
    counts = {name: sum(s[3] == name for s in states) for name in ("run", "score", "hand", "skip", "fail")}
    print(
        f"plan: {counts['run']} to run, {counts['score']} to score, {counts['hand']} at hand, "
        f"{counts['skip']} skipped, {counts['fail']} failed or cannot run{_unread(session)}"
    )
    return 1 if session.problems else 0


def _cost_lines(session: Session, to_do: set[str], known: dict[Key, Record | None]) -> list[str]:
    """What the cells will take by what is known, and how far that was off elsewhere."""
    work = {}
    for cell in (cell for cell in session.cells if cell.id in to_do):
        for step in cell.steps():
            if step.key not in known:
                known[step.key] = session.store.record(*step.key)
            if known[step.key] is None:
                work[step.key] = factors(step.kind, cell.maker(step).coordinates)
    own = (record for kind in KINDS for record in session.store.records(kind))
    cost = foretold(list(work.values()), [*session.published_times(), *past_steps(own)] if work else [])
    if cost is None:
        return []
    steps = (
        f"{cost.steps} step{'s'[: cost.steps != 1]}, by {cost.seen} times that are published or in the store"
    )
    return [f"about {duration(cost.seconds)} of one worker for {steps}; {cost.off}"]


def _unread(session: Session) -> str:
    """What the numbers do not count, as it could not be read."""
    tasks = len(session.suite.problems)
    return f"; {tasks} task{'s' if tasks > 1 else ''} could not be read" if tasks else ""


def why(options: argparse.Namespace) -> int:
    """Shows what cells are made of: one in full, or a method's, each with why it would run."""
    session = Session(options)
    session.complain()
    latest = latest_records(session.store)
    known: dict[tuple[str, str], Record | None] = {}
    query = options.query
    chosen = [cell for cell in session.cells if cell.id.startswith(query)]
    if len(chosen) == 1:
        outcome = outcome_of(chosen[0], session.store, known)
        for line in cell_lines(chosen[0], outcome, session.store, latest):
            print(line)
        return 0
    if chosen:
        raise PotemkinError(f"{len(chosen)} cells begin with {query}: give more of the id")
    entries = [e for e in session.registry.entries if query in (e.name, e.variant)]
    if not entries and _ID.fullmatch(query):
        raise PotemkinError(f"no cell of suite {session.suite.name} has an id {query}...: try --suite")
    if not entries:
        raise unknown("method", query, {e.name for e in session.registry.entries})
    variants = {entry.variant for entry in entries}
    mine = [c for c in session.cells if {c.attack.variant, c.defense.variant} & variants]
    for cell in mine:
        state, reason = _state(cell, session.store, known, latest)
        name = " x ".join(str(part) for part in cell.coordinates.values())
        print(f"{cell.id}  {state:5}  {name}  {reason}".rstrip())
    print(f"{query}: {len(mine)} cells in suite {session.suite.name}; `potemkin why ID` shows one in full")
    return 0


def _state(
    cell: Cell,
    store: Store,
    known: dict[tuple[str, str], Record | None],
    latest: dict[str, Record],
) -> tuple[str, str]:
    outcome = outcome_of(cell, store, known)
    if outcome.status == "skipped":
        return "skip", outcome.reason
    if outcome.failed:
        return "fail", outcome.reason
    if outcome.status == "ok":
        return "hand", ""
    if "judge" in outcome.records:
        return "score", "scoring"
    return "run", stale_reason(cell, latest)
