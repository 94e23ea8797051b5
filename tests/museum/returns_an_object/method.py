"""Returns something that runs code where it is unpickled."""

import os

from benchmark.api import Attack, Case, Forgery


class _Trap:
    """Ends whoever unpickles it."""

    def __reduce__(self):
        return os._exit, (0,)


class ReturnsAnObject(Attack):
    """Returns something that runs code where it is unpickled."""

    name = "returns_an_object"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        return Forgery(_Trap())
