"""Names a module that no file system could hold, in a function that nobody calls."""

from benchmark.api import Attack, Case, Forgery


def _never() -> None:
    import benchmark.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  # noqa: E501, F401


class LongImport(Attack):
    """Does nothing."""

    name = "long_import"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs)
