"""Has whoever watches trip over an event that nobody else raises."""

import sys

from benchmark.api import Attack, Case, Forgery


class RaisesAnEvent(Attack):
    """Has whoever watches trip over an event that nobody else raises."""

    name = "raises_an_event"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        try:
            sys.audit("open")
        except Exception as error:
            assert error.__traceback__ is not None
            error.__traceback__.tb_next.tb_frame.f_locals["refuse"] = None
        return Forgery(case.inputs.clone())
