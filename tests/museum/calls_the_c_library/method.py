"""Starts a process where Python does not see it."""

import ctypes

from benchmark.api import Attack, Case, Forgery


class CallsTheCLibrary(Attack):
    """Starts a process where Python does not see it."""

    name = "calls_the_c_library"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        child = ctypes.CDLL(None, use_errno=True).fork()
        if child < 0:
            raise OSError(ctypes.get_errno(), "fork was refused")
        return Forgery(case.inputs.clone())
