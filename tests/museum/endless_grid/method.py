"""More variants than can be counted."""

import itertools

from benchmark.api import Attack, Case, Forgery


class EndlessGrid(Attack):
    """Would change nothing."""

    name = "endless_grid"
    paper = "made for a test"
    params = {"step": range(10**6), "count": itertools.count()}
    step = count = 0

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
