"""A setting that would become a path out of the gallery."""

from benchmark.api import Attack, Case, Forgery


class NamesAPath(Attack):
    """Would change nothing."""

    name = "names_a_path"
    paper = "made for a test"
    params = {"place": ["../../../stolen", "\x1b[2J", "a\nb"]}
    place = ""

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
