"""Says that it has asked for more than there are numbers."""

from benchmark.api import Attack, Case, Forgery


class ForgesItsCounts(Attack):
    """Says that it has asked for more than there are numbers."""

    name = "forges_its_counts"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        case.model.listener.forwards = 10**400
        return Forgery(case.inputs.clone())
