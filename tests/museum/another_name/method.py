"""Calls itself as a method of the project does."""

from benchmark.api import Attack, Case, Forgery


class AnotherName(Attack):
    """Would like to be mistaken."""

    name = "random_noise"
    paper = "made for a test"

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
