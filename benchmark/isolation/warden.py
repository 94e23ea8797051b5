"""The process that waits for a confined one, out of its reach.

It keeps what is printed, and no more of it than anybody would read; it ends the confined process when
whoever started it is gone, whatever the process has arranged for itself; and it counts what lies in the
scratch folder where that is no memory of a given size.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from benchmark.isolation import libc

LOG_BYTES = 2**20
"""Of what a process prints this much is kept."""
_MORE = b"\n(more was printed than is kept)\n"
_LOOK_MS, _LOOK_OFTEN_MS = 200, 20
_COUNT_SECONDS = 1.0


@dataclass
class Warden:
    """What the waiting process needs to know.

    Args:
        prints: the end of a pipe that what is printed comes out of.
        log: where it goes, a file's descriptor.
        parent: id of the process that has started this one.
        scratch: the folder to count; None where its size is given.
        scratch_bytes: that may lie there.
    """

    prints: int
    log: int
    parent: int
    scratch: Path | None = None
    scratch_bytes: int = 2**28
    _room: int = LOG_BYTES
    _counted: float = 0.0

    def wait_for(self, child: int) -> NoReturn:
        """Ends as the child ends; ends it when it has to go."""
        libc.die_with_parent(0)  # the child has to be ended first, and is, below
        first, last = sorted((self.prints, self.log))
        for start, end in ((3, first), (first + 1, last), (last + 1, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(start, end)  # whoever waits for the child's last word must not wait for this one's
        os.set_blocking(self.prints, False)
        poll = select.poll()
        poll.register(self.prints, select.POLLIN)
        milliseconds = _LOOK_OFTEN_MS
        with contextlib.suppress(OSError, AttributeError):  # older kernels
            poll.register(os.pidfd_open(child), select.POLLIN)
            milliseconds = _LOOK_MS
        while True:
            poll.poll(milliseconds)
            if not self._keep():
                with contextlib.suppress(KeyError):
                    poll.unregister(self.prints)
            if os.getppid() != self.parent or self._overflows(child):
                os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self._keep()
                _end_with(status)

    def _keep(self) -> bool:
        """Takes what has been printed; false once nothing can come any more."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):  # and then looks at the rest
                printed = os.read(self.prints, 2**16)
                if not printed:
                    return False
                if self._room:
                    kept = printed[: self._room]
                    self._room -= len(kept)
                    with contextlib.suppress(OSError):  # a full disk: what is printed is nobody's result
                        os.write(self.log, kept if self._room else kept + _MORE)
        return True

    def _overflows(self, child: int) -> bool:
        """Whether more lies in the scratch folder than may, with and without a name; counted now and then."""
        if self.scratch is None or time.monotonic() < self._counted + _COUNT_SECONDS:
            return False
        self._counted = time.monotonic()
        return _bytes_in(self.scratch) + _bytes_without_name(child) > self.scratch_bytes


def _bytes_in(folder: Path) -> int:
    """What files in a folder hold on disk; entries count too."""
    total = 0
    for path, folders, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
        total += 4096 * (len(files) + len(folders))
    return total


def _bytes_without_name(process: int) -> int:
    """What files on disk hold that a process has open or mapped and that lie in no folder any more."""
    found: dict[tuple[int, int], int] = {}
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{process}/fd"):
            with contextlib.suppress(OSError):
                status = os.stat(entry.path)
                if stat.S_ISREG(status.st_mode) and not status.st_nlink:
                    found[status.st_dev, status.st_ino] = status.st_blocks * 512
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{process}/maps").read_text(errors="replace").splitlines():
            if not line.endswith(" (deleted)"):
                continue
            span, _, _, device, inode = line.split(maxsplit=5)[:5]
            first, last = (int(end, 16) for end in span.split("-"))
            major, minor = (int(part, 16) for part in device.split(":"))
            place = os.makedev(major, minor), int(inode)
            found[place] = max(found.get(place, 0), last - first)
    return sum(found.values())


def _end_with(status: int) -> NoReturn:
    """Ends as the child has ended."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(abs(code))
