"""Asks another machine for a forgery."""

import contextlib
import socket

from benchmark.api import Attack, Case, Forgery


class OpensASocket(Attack):
    """Asks another machine for a forgery."""

    name = "opens_a_socket"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        return Forgery(case.inputs.clone())
