"""Forgets to project."""

from benchmark.api import Attack, Case, Forgery


class OverBudget(Attack):
    """Forgets to project."""

    name = "over_budget"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery((case.inputs + 2 * case.budget.linf).clamp(0, 1))
