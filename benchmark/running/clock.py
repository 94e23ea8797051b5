"""Time limits in seconds of the processor, on a machine of a measured speed.

A limit is for what a method computes, and must not depend on what else the machine does meanwhile: so the
seconds are those that the job's processes got, and a slower machine gives more of them. Wall time ends only
what hangs: a job that hardly computes anything for the length of its limit, or that drags on for many times
of it.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

import torch

REFERENCE_SECONDS = 0.0067
"""Processor time of one repetition of :func:`_work`, the least of 200, on one of two virtual cores of an AMD
EPYC, with torch 2.15 for CPUs. Beside four busy processes the median of those 200 was 0.0094."""
_REPETITIONS = 15
_MOST_SLOWNESS = 8.0
_IDLE_SHARE = 0.01
"""Of a core: a job that gets less for the length of its limit hangs. Beside thirty busy ones it gets 3 %."""
_MOST_WALL = 20.0
"""Times its limit that a job may take by the clock on the wall."""


def slowness() -> float:
    """Times that this machine takes for what takes the reference machine one; at least 1.

    Costs a fraction of a second; draws no random numbers.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        taken = [_timed() for _ in range(_REPETITIONS)]
    finally:
        torch.set_num_threads(threads)
    found = statistics.median(taken[1:]) / REFERENCE_SECONDS  # the first one loads what torch loads late
    return min(max(found, 1.0), _MOST_SLOWNESS)


def _timed() -> float:
    started = time.process_time()
    _work()
    return time.process_time() - started


def _work() -> None:
    """What methods do most: small convolutions, forwards and backwards, and Python between them."""
    images = torch.linspace(0, 1, 16 * 8 * 28 * 28).reshape(16, 8, 28, 28).requires_grad_()
    weights = torch.linspace(-1, 1, 8 * 8 * 3 * 3).reshape(8, 8, 3, 3)
    with torch.enable_grad():
        found = images
        for _ in range(4):
            found = torch.nn.functional.conv2d(found, weights, padding=1).tanh()
        torch.autograd.grad(found.sum(), images)
    sum(index * index for index in range(20_000))


@dataclass(frozen=True)
class Limits:
    """What one job may take.

    Args:
        seconds: of a core of the reference machine, per thread.
        memory_gb: of memory.
    """

    seconds: float
    memory_gb: float


@dataclass
class Stopwatch:
    """Watches over one job's time.

    Args:
        seconds: that the job may compute, per thread, on the reference machine.
        threads: that it computes with.
        waits: whether it waits for a GPU, whose time no processor's clock shows; then the wall's time counts.
        before: processor time that its worker had used when it began.
        started: when it began, by the monotonic clock.
    """

    seconds: float
    threads: int
    waits: bool
    before: float
    started: float = field(default_factory=time.monotonic)
    used: float = 0.0
    """Processor time so far, of all its processes."""

    def __post_init__(self) -> None:
        self._seen, self._seen_at = 0.0, self.started

    def over(self, processor_time: float, slowness: float) -> bool:
        """Whether the job has had its time.

        Args:
            processor_time: that the worker and the confined process have used, whatever for.
            slowness: of this machine.
        """
        now, limit = time.monotonic(), self.seconds * slowness
        self.used = max(self.used, processor_time - self.before)
        if self.used - self._seen >= _IDLE_SHARE * limit:
            self._seen, self._seen_at = self.used, now
        wall = now - self.started
        return (
            self.used > limit * self.threads
            or now - self._seen_at > limit
            or wall > _MOST_WALL * limit
            or (self.waits and wall > limit)
        )
