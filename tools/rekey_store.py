"""Gives the finished steps of a store the ids that a later commit has for them, where only ids have changed.

What an id is made of can change (:mod:`benchmark.running.roots`) though nothing that is run does. This plans
a suite with the code of a commit before and with the project's own, and copies every step of the store to
the id that the same step of the same cell has now::

    python tools/rekey_store.py quick --before TREE --store .potemkin --out NEW

``TREE`` is a checkout of the commit before. Every reference, whose id covers all that is run of a task and a
defense, has to have kept its id: otherwise something else has changed, and nothing is copied.

Code that is written anew and computes the same changes those ids too. Then cells are drawn and run with the
project's own code, and nothing is copied unless every step of them has the bytes and the counts that it had::

    python tools/rekey_store.py quick --before TREE --store .potemkin --out NEW --spot-checks 20

A store that was made on another machine has other bits than either code makes here: with ``--anew`` cells are
run with both, and compared with each other.

Where scoring itself is another, ``--rescore`` leaves scores out: ``potemkin run`` makes them anew.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_RECORD = "record.json"
_SAME = ("status", "files", "forwards", "backwards", "explanations")
"""What of a record says what a step computed, and how."""
_PLAN = """
import json, sys
from pathlib import Path
from benchmark.running.plan import Planner
from benchmark.running.registry import find_methods
from benchmark.tasks.task import load_suite
root = Path(sys.argv[1])
methods = find_methods(root, set())
cells = Planner(root).cells(load_suite(sys.argv[2], root).tasks, methods.attacks(), methods.defenses())
told = [
    {
        "cell": cell.coordinates,
        "forge_parts": cell.forge_parts,
        "steps": [[step.kind, step.id, step.parts] for step in cell.steps()],
    }
    for cell in cells
]
print(json.dumps(told))
"""


def planned(tree: Path, suite: str) -> dict[str, dict[str, Any]]:
    """The cells of a suite, with their steps, as a tree's code plans them."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "POTEMKIN_ROOT": str(tree)}
    command = [sys.executable, "-c", _PLAN, str(tree), suite]
    done = subprocess.run(command, env=environment, cwd=tree, stdout=subprocess.PIPE, text=True, check=True)
    return {json.dumps(cell["cell"], sort_keys=True): cell for cell in json.loads(done.stdout)}


def moves(
    before: dict[str, Any], after: dict[str, Any], proven: bool = False
) -> dict[tuple[str, str], dict[str, Any]]:
    """For every step before, by kind and id, what its record says of it now.

    Args:
        before: cells as they were planned.
        after: cells as they are planned now.
        proven: whether cells were run anew and are what they were.

    Raises:
        ValueError: what is run has changed, or a step would have two ids.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in before.keys() & after.keys():
        was, now = before[name], after[name]
        if len(was["steps"]) != len(now["steps"]):
            raise ValueError(f"{name} has other steps now")
        for (kind, old, _), (same, new, parts) in zip(was["steps"], now["steps"], strict=True):
            if kind != same or (kind == "reference" and old != new and not proven):
                raise ValueError(f"{name}: what is run has changed, and not the ids alone")
            said = {"id": new, "parts": parts}
            if kind == "judge":
                said["forge_parts"] = now["forge_parts"]
            if found.setdefault((kind, old), said)["id"] != new:
                raise ValueError(f"{name}: step {kind} {old} would have two ids")
    return found


def copied(
    store: Path, out: Path, found: dict[tuple[str, str], dict[str, Any]], without: Collection[str] = ()
) -> int:
    """Copies the steps that the store has, without those of some kinds; returns how many."""
    from benchmark.running.record import looked_through, sealed

    count = 0
    for (kind, old), said in found.items():
        if kind in without:
            continue
        home, place = store / kind / old, out / kind / said["id"]
        if not (home / _RECORD).is_file() or place.exists():
            continue
        record = looked_through((home / _RECORD).read_bytes(), kind, old)
        shutil.copytree(home, place)
        kept = {name: value for name, value in said.items() if name != "forge_parts" or name in record}
        if "pool" in record:  # ids of the forgeries that were judged
            kept["pool"] = sorted(found["forge", one]["id"] for one in record["pool"])
        text = json.dumps(sealed({**record, **kept}), indent=1, sort_keys=True)
        (place / _RECORD).write_text(text, encoding="utf-8")
        count += 1
    return count


def drawn(before: dict[str, Any], after: dict[str, Any], store: Path, count: int) -> list[dict[str, Any]]:
    """Cells at random, the same ones for the same plan, of which the store has every step.

    Those that judge a pool are left out: they need the forgeries of all others.
    """
    known = [
        {**before[name], "cell": json.loads(name)}
        for name in sorted(before.keys() & after.keys())
        if all((store / kind / step / _RECORD).is_file() for kind, step, _ in before[name]["steps"])
        and sum(kind == "forge" for kind, _, _ in before[name]["steps"]) <= 1
    ]
    return random.Random(len(known)).sample(known, min(count, len(known)))


def differences(
    cells: list[dict[str, Any]],
    after: dict[str, Any],
    store: Path,
    fresh: Path,
    without: Collection[str] = (),
) -> list[str]:
    """Steps that are not what they were, a sentence each.

    Args:
        cells: as :func:`drawn` gave them.
        after: cells as they are planned now.
        store: has them as they were.
        fresh: has them as they are now.
        without: kinds of steps that are not compared.
    """
    found = []
    for cell in cells:
        now = after[json.dumps(cell["cell"], sort_keys=True)]
        for (kind, old, _), (_, new, _) in zip(cell["steps"], now["steps"], strict=True):
            if kind in without:
                continue
            place = fresh / kind / new / _RECORD
            if not place.is_file():
                found.append(f"{kind} {old} was not run anew")
                continue
            was, made = (json.loads(p.read_bytes()) for p in (store / kind / old / _RECORD, place))
            unequal = [field for field in _SAME if was.get(field) != made.get(field)]
            if unequal:
                found.append(f"{kind} {old} of {cell['cell']} differs in {', '.join(unequal)}")
    return found


def run_anew(suite: str, cells: list[dict[str, Any]], fresh: Path, tree: Path = ROOT) -> None:
    """Runs cells with a tree's code, by default the project's own; what they need besides is run too."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "POTEMKIN_ROOT": str(tree)}
    for cell in cells:
        place = cell["cell"]
        named = [("--task", place["task"]), ("--attack", place["attack"]), ("--defense", place["defense"])]
        command = [
            sys.executable,
            "-m",
            "benchmark",
            "run",
            suite,
            *(word for pair in named for word in pair),
        ]
        command += ["--store", str(fresh), "--out", str(fresh / "results"), "--workers", "2"]
        subprocess.run(command, env=environment, cwd=tree, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    """Re-keys a store; 0 where it could be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("suite", help="name of a suite")
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit before")
    parser.add_argument("--store", type=Path, required=True, help="the store")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new one")
    parser.add_argument("--spot-checks", type=int, default=0, help="cells that are run anew and compared")
    parser.add_argument("--anew", action="store_true", help="run the cells with the code before, too")
    parser.add_argument("--rescore", action="store_true", help="leave scores out, to be made anew")
    options = parser.parse_args()
    without = {"score"} if options.rescore else set()
    sys.path.insert(0, str(ROOT))
    before, after = (planned(tree.resolve(), options.suite) for tree in (options.before, ROOT))
    if options.spot_checks:
        cells = drawn(before, after, options.store, options.spot_checks)
        with tempfile.TemporaryDirectory() as fresh:
            was, now = Path(fresh) / "before", Path(fresh) / "after"
            run_anew(options.suite, cells, now)
            if options.anew:
                run_anew(options.suite, cells, was, options.before.resolve())
            told = differences(cells, after, was if options.anew else options.store, now, without)
        print(f"{len(cells)} cells were run anew: {len(told)} steps differ")
        if told or not cells:
            print("\n".join(told), file=sys.stderr)
            return 1
    try:
        found = moves(before, after, proven=bool(options.spot_checks))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{copied(options.store, options.out, found, without)} of {len(found)} steps copied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
