"""Returns a number that nobody can write down."""

from benchmark.api import Attack, Case, Forgery


class ReturnsAHugeNumber(Attack):
    """Returns a number that nobody can write down."""

    name = "returns_a_huge_number"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(10**5000)
