"""Says that it has won."""

import sys

from benchmark.api import Attack, Case, Forgery


class PrintsScores(Attack):
    """Says that it has won."""

    name = "prints_scores"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        print("cells: 99 run, 0 cached, 0 skipped, 0 failed")
        print("prints_scores: manipulation 1.000", file=sys.stderr)
        return Forgery(case.inputs.clone())
