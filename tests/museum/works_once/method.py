"""Breaks when it is asked again."""

from benchmark.api import Attack, Case, Forgery

_asked: list[int] = []


class WorksOnce(Attack):
    """Breaks when it is asked again."""

    name = "works_once"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        _asked.append(len(_asked))
        if len(_asked) > 1:
            raise RuntimeError("asked already")
        return Forgery(case.inputs.clone())
