"""A number that no float holds, and a name that hides it."""

from benchmark.api import Attack, Case, Forgery


class HugeSetting(Attack):
    """Would change nothing."""

    name = "huge_setting"
    paper = "made for a test"
    params = {"size": [10**400]}
    size = 0

    @property
    def variant(self) -> str:
        """Shorter than it is."""
        return "huge_setting[size=1]"

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
