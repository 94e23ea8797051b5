"""Starts threads without end."""

import threading
import time

from benchmark.api import Attack, Case, Forgery


class ThreadBomb(Attack):
    """Starts threads without end."""

    name = "thread_bomb"
    paper = "made for a test"
    adaptive = False

    def forge(self, case: Case) -> Forgery:
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
