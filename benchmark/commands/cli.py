"""The command line: each command is one step of the flow task, plan, run, score, board."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from benchmark.commands.words import parser
from benchmark.errors import PotemkinError
from benchmark.interrupts import leave_at_once, raised, say
from benchmark.running.warmup import warm_up

_MODULES = {
    "list_things": "listing",
    "plan": "looking",
    "why": "looking",
    "run": "running",
    "score": "running",
    "board": "running",
    "new": "submitting",
    "check": "checking",
    "publish": "publishing",
    "verify": "publishing",
    "restore": "publishing",
    "merge_stores": "merging",
    "compare": "comparing",
    "reproduce": "reproducing",
    "submit_artefact": "artefacts",
    "export_task": "artefacts",
    "audit": "auditing",
    "site": "site",
    "export": "exporting",
    "diff": "differing",
    "multiverse": "choices",
    "archive": "archiving",
}
"""Where each command is; imported when it is asked for, since most import torch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    0 only where every planned cell ended ok or skipped and the boards could be written; 1 where not; 2 for
    words that the command line does not know.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if not words:  # somebody looks what there is
        parser().print_help(sys.stderr)
        return 2
    try:
        parsed = parser().parse_args(words)
        if parsed.command in ("run", "reproduce", "compare", "check"):
            warm_up()
        if parsed.command in ("run", "compare", "audit"):  # what comes next takes seconds
            doing = "loading torch" if parsed.command == "audit" else "loading torch and planning"
            print(f"{parsed.command}: {doing}", file=sys.stderr, flush=True)
        module = importlib.import_module(f"benchmark.commands.{_MODULES[parsed.command]}")
        with raised():
            return int(getattr(module, parsed.command)(parsed))
    except PotemkinError as error:
        print(f"potemkin: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"potemkin: {_words(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if words[0] == "audit":  # which nothing goes on with
            return say("potemkin: interrupted; what was found so far is on the page\n")
        return say()


def _words(error: OSError) -> str:
    """What went wrong with which file, without Python's number for it."""
    named = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    return f"{named}: {error.strerror}" if named and error.strerror else str(error.strerror or error)


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


if __name__ == "__main__":
    leave_at_once()
    sys.exit(main())
