"""Starts processes that start processes."""

import contextlib
import os

from benchmark.api import Attack, Case, Forgery


class ForkBomb(Attack):
    """Starts processes that start processes."""

    name = "fork_bomb"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        for _ in range(20):
            with contextlib.suppress(OSError):
                os.fork()
        return Forgery(case.inputs.clone())
