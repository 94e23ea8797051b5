"""Says that it is a control, which nobody ranks and everybody trusts."""

from benchmark.api import Attack, Case, Forgery


class AControl(Attack):
    """Would like to be compared with."""

    name = "a_control"
    paper = "made for a test"
    control = True
    bounds = {"manipulation": (0.0, 1.0)}

    def forge(self, case: Case) -> Forgery:
        return Forgery(case.inputs.clone())
