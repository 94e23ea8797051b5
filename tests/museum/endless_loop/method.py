"""Never comes to an end."""

from benchmark.api import Attack, Case, Forgery


class EndlessLoop(Attack):
    """Never comes to an end."""

    name = "endless_loop"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        step = 0
        while step >= 0:
            step += 1
        return Forgery(case.inputs.clone())
