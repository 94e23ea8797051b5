"""Gives the finished steps of a store the ids that a later commit has for them, where only ids have changed.

What an id is made of can change (:mod:`benchmark.running.roots`) though nothing that is run does. This plans
a suite with the code of a commit before and with the project's own, and copies every step of the store to
the id that the same step of the same cell has now::

    python tools/rekey_store.py quick --before TREE --store .potemkin --out NEW

``TREE`` is a checkout of the commit before. Every reference, whose id covers all that is run of a task and a
defense, has to have kept its id: otherwise something else has changed, and nothing is copied.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
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


def moves(before: dict[str, Any], after: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """For every step before, by kind and id, what its record says of it now.

    Raises:
        ValueError: what is run has changed, or a step would have two ids.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in before.keys() & after.keys():
        was, now = before[name], after[name]
        if len(was["steps"]) != len(now["steps"]):
            raise ValueError(f"{name} has other steps now")
        for (kind, old, _), (same, new, parts) in zip(was["steps"], now["steps"], strict=True):
            if kind != same or (kind == "reference" and old != new):
                raise ValueError(f"{name}: what is run has changed, and not the ids alone")
            said = {"id": new, "parts": parts}
            if kind == "judge":
                said["forge_parts"] = now["forge_parts"]
            if found.setdefault((kind, old), said)["id"] != new:
                raise ValueError(f"{name}: step {kind} {old} would have two ids")
    return found


def copied(store: Path, out: Path, found: dict[tuple[str, str], dict[str, Any]]) -> int:
    """Copies the steps that the store has; returns how many."""
    from benchmark.running.record import looked_through, sealed

    count = 0
    for (kind, old), said in found.items():
        home, place = store / kind / old, out / kind / said["id"]
        if not (home / "record.json").is_file() or place.exists():
            continue
        record = looked_through((home / "record.json").read_bytes(), kind, old)
        shutil.copytree(home, place)
        kept = {name: value for name, value in said.items() if name != "forge_parts" or name in record}
        if "pool" in record:  # ids of the forgeries that were judged
            kept["pool"] = sorted(found["forge", one]["id"] for one in record["pool"])
        text = json.dumps(sealed({**record, **kept}), indent=1, sort_keys=True)
        (place / "record.json").write_text(text, encoding="utf-8")
        count += 1
    return count


def main() -> int:
    """Re-keys a store; 0 where it could be done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("suite", help="name of a suite")
    parser.add_argument("--before", type=Path, required=True, help="checkout of the commit before")
    parser.add_argument("--store", type=Path, required=True, help="the store")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new one")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    before, after = (planned(tree.resolve(), options.suite) for tree in (options.before, ROOT))
    try:
        found = moves(before, after)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{copied(options.store, options.out, found)} of {len(found)} steps copied")
    return 0


if __name__ == "__main__":
    sys.exit(main())
