"""Never comes to an end, and begins before it is asked."""

from benchmark.api import Attack, Case, Forgery

while True:
    pass


class EndlessImport(Attack):
    """Never defined."""

    name = "endless_import"
    paper = "made for a test"

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
