"""Forgets most of the batch."""

from benchmark.api import Attack, Case, Forgery


class WrongShape(Attack):
    """Forgets most of the batch."""

    name = "wrong_shape"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs[:1])
