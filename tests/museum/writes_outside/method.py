"""Writes its own board."""

import contextlib
from pathlib import Path

import benchmark
from benchmark.api import Attack, Case, Forgery


class WritesOutside(Attack):
    """Writes its own board."""

    name = "writes_outside"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        results = Path(benchmark.__file__).resolve().parents[1] / "results"
        with contextlib.suppress(OSError):
            results.mkdir(exist_ok=True)
            (results / "attacks.csv").write_text("attack,score\nwrites_outside,1.0\n")
        return Forgery(case.inputs.clone())
