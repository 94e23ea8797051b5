"""Normalizes over the batch."""

from benchmark.api import Attack, Case, Forgery


class MindsItsNeighbours(Attack):
    """Normalizes over the batch."""

    name = "minds_its_neighbours"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        change = case.inputs - case.inputs.mean(0)
        return Forgery(case.project(case.inputs + case.budget.linf * change / change.abs().max()))
