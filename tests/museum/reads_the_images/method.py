"""Looks for the evaluation images."""

import contextlib
from pathlib import Path

import benchmark
from benchmark.api import Attack, Case, Forgery


class ReadsTheImages(Attack):
    """Looks for the evaluation images."""

    name = "reads_the_images"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        root = Path(benchmark.__file__).resolve().parents[1]
        found = []
        for folder in (root / "tasks" / "assets" / "fashion-mnist", root / "tasks" / "assets"):
            with contextlib.suppress(OSError):
                found += sorted(folder.iterdir())
        assert not found, found
        return Forgery(case.inputs.clone())
