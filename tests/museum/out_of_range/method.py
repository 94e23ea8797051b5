"""Stays within the budget and leaves the range."""

from benchmark.api import Attack, Case, Forgery


class OutOfRange(Attack):
    """Stays within the budget and leaves the range."""

    name = "out_of_range"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs - case.budget.linf)
