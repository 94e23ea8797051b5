"""Leaves as if all were well, without a word."""

import os

from benchmark.api import Attack, Case, Forgery


class LeavesAtOnce(Attack):
    """Leaves as if all were well, without a word."""

    name = "leaves_at_once"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        if case.inputs.ndim == 4:
            os._exit(0)
        return Forgery(case.inputs.clone())
