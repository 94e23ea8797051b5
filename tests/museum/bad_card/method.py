"""Is well, but nobody knows whose it is."""

from benchmark.api import Attack, Case, Forgery


class BadCard(Attack):
    """Returns what came in."""

    name = "bad_card"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
