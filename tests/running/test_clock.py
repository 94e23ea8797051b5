"""Time limits: the processor's seconds, on a machine of a measured speed; wall time for what hangs."""

from __future__ import annotations

import time

import pytest
import torch

from benchmark.running import clock
from benchmark.running.clock import Stopwatch, slowness


class Clock:
    """A clock that goes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock on the wall."""
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made)
    return made


def ends_at(
    wall: Clock,
    share: float,
    *,
    slow: float = 1.0,
    threads: int = 1,
    waits: bool = False,
    before: float = 0.0,
) -> tuple[float, float]:
    """Wall and processor seconds until a job is stopped that may take 10 s and gets a part of a core."""
    watch = Stopwatch(10.0, threads, waits, before, wall.now)
    for step in range(1, 10_000):
        wall.now += 0.1
        if watch.over(before + 0.1 * step * share, slow):
            return 0.1 * step, watch.used
    raise AssertionError("never stopped")


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_a_busy_machine_takes_nothing_from_a_limit(share: float, wall: Clock) -> None:
    lasted, used = ends_at(wall, share, before=123.0)
    assert used == pytest.approx(10, abs=0.2)
    assert lasted == pytest.approx(10 / share, rel=0.05)


def test_a_slow_machine_gives_more(wall: Clock) -> None:
    assert ends_at(wall, 1.0, slow=3.0)[1] == pytest.approx(30, abs=0.2)


def test_threads_have_the_limit_each(wall: Clock) -> None:
    assert ends_at(wall, 4.0, threads=4)[0] == pytest.approx(10, abs=0.3)


def test_what_sleeps_is_stopped_by_the_wall(wall: Clock) -> None:
    lasted, used = ends_at(wall, 0.0005)
    assert lasted == pytest.approx(10, abs=0.3) and used < 0.1


def test_what_drags_on_is_stopped_by_the_wall(wall: Clock) -> None:
    lasted, used = ends_at(wall, 0.02)
    assert lasted == pytest.approx(200, abs=1) and used < 10


def test_a_pause_is_no_hanging(wall: Clock) -> None:
    watch = Stopwatch(10.0, 1, False, 0.0, wall.now)
    for _ in range(3):
        wall.now += 9.0
        assert not watch.over(watch.used, 1.0)
        wall.now += 0.1
        assert not watch.over(watch.used + 0.2, 1.0)


def test_what_waits_for_a_gpu_is_stopped_by_the_wall(wall: Clock) -> None:
    assert ends_at(wall, 0.1, waits=True)[0] == pytest.approx(10, abs=0.3)


def test_slowness_is_bounded_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    assert 1 <= slowness() <= 8
    assert torch.equal(state, torch.get_rng_state()) and threads == torch.get_num_threads()
    for reference, expected in ((1e9, 1.0), (1e-9, 8.0)):
        monkeypatch.setattr(clock, "REFERENCE_SECONDS", reference)
        assert slowness() == expected
