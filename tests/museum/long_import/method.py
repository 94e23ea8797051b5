"""Names a module that no file system could hold, in a function that nobody calls."""

import importlib

from benchmark.api import Attack, Case, Forgery


def _never() -> None:
    importlib.import_module(
        "benchmark."
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    )


class LongImport(Attack):
    """Does nothing."""

    name = "long_import"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs)
