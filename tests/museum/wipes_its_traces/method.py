"""Opens a socket, and forgets what was noticed of it."""

import contextlib
import socket

from benchmark.api import Attack, Case, Forgery
from benchmark.isolation import watch


class WipesItsTraces(Attack):
    """Opens a socket, and forgets what was noticed of it."""

    name = "wipes_its_traces"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        watch._FORBIDDEN.clear()
        with contextlib.suppress(OSError):
            socket.socket()
        return Forgery(case.inputs.clone())
