"""Has the harness's own function do another thing, under the same name."""

from benchmark.api import Attack, Case, Forgery


class ChangesCode(Attack):
    """Has the harness's own function do another thing, under the same name."""

    name = "changes_code"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        Case.project.__code__ = (lambda self, inputs: inputs).__code__
        return Forgery(case.inputs.clone())
