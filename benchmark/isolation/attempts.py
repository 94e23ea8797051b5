"""How a confined process tells of attempts: over a channel that it can only write to, at once.

What has been told lies with the harness and cannot be taken back; a process that can tell no more is ended.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from benchmark.failures import printable

_TOLD = 16
"""More attempts than this are refused and not told."""
_MOST_BYTES = 2**20

Teller = Callable[[str], None]
"""Tells the harness of an attempt; ends the process where that cannot be done."""


def teller(channel: int) -> Teller:
    """Tells over a descriptor, line by line.

    The process ends where the descriptor is closed, or is no longer what it was: an attempt that cannot be
    told must not go on.
    """
    write, look, leave, full, anything = os.write, os.fstat, os._exit, BlockingIOError, BaseException
    itself = look(channel).st_ino
    left = iter(range(_TOLD))

    def tell(sentence: str) -> None:
        for _ in left:
            break
        else:
            return
        line = sentence.replace("\n", " ")[:1000] + "\n"
        try:
            if look(channel).st_ino != itself:
                leave(1)
            write(channel, line.encode("utf-8", "replace"))
        except full:  # of attempts
            return
        except anything:
            leave(1)

    return tell


class Attempts:
    """What a confined process tells of attempts, over a channel that it can only write to.

    Args:
        channel: this side's descriptor.
    """

    def __init__(self, channel: int) -> None:
        self._channel = socket.socket(fileno=channel)
        self._channel.setblocking(False)

    def read(self) -> tuple[list[str], bool]:
        """Sentences told since the last time, and whether more could come."""
        told, still_open = b"", True
        try:
            while len(told) < _MOST_BYTES:
                more = self._channel.recv(2**16)
                told += more
                if not more:
                    still_open = False
                    break
        except BlockingIOError:
            pass
        except OSError:
            still_open = False
        return [printable(line.decode("utf-8", "replace")) for line in told.splitlines()[:20]], still_open

    def close(self) -> None:
        """Listens no more."""
        self._channel.close()
