"""Leaves as if all were well."""

import sys

from benchmark.api import Attack, Case, Forgery


class Exits(Attack):
    """Leaves as if all were well."""

    name = "exits"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        if case.inputs.ndim == 4:
            sys.exit(0)
        return Forgery(case.inputs.clone())
