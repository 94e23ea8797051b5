"""Which step starts next: what steps of a kind share on a task is made by as few workers as can be."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmark.running.turns import turn

KINDS = ("forge", "reference", "judge", "score")
Work = tuple[str, str, float]
"""Kind, task and seconds of a step."""


@dataclass
class Workers:
    """Workers of whom each does one step at a time; what waits for nothing can start at once."""

    count: int
    served: list[set[tuple[str, str]]] = field(default_factory=list)
    until: dict[int, float] = field(default_factory=dict)

    def having(self, kind: str, task: str) -> tuple[bool, bool]:
        busy = {at in self.until for at, own in enumerate(self.served) if (kind, task) in own}
        return False in busy, True in busy

    def run(self, waiting: list[Work]) -> float:
        """Seconds to the end."""
        self.served = [set() for _ in range(self.count)]
        now = 0.0
        while waiting or self.until:
            while waiting and len(self.until) < self.count:
                best = min(waiting, key=lambda item: turn(item[0], item[1], self.having))
                waiting.remove(best)
                free = [at for at in range(self.count) if at not in self.until]
                at = min(free, key=lambda at: best[:2] not in self.served[at])
                self.served[at].add(best[:2])
                self.until[at] = now + best[2]
            at = min(self.until, key=lambda at: self.until[at])
            now = self.until.pop(at)
        return now


def test_two_workers_share_two_tasks_and_neither_makes_ready_for_both() -> None:
    workers = Workers(2)
    first = {"reference": 5.0, "score": 3.0}
    listed = [
        (kind, task, first.get(kind, 0.1) if number == 0 else 0.1)
        for kind in KINDS
        for task in ("a", "b")
        for number in range(8)
    ]
    workers.run(listed)
    for kind in ("reference", "judge", "score"):
        for task in ("a", "b"):
            assert sum((kind, task) in own for own in workers.served) == 1, (kind, task)


def test_long_forgeries_of_one_task_wait_for_nobody() -> None:
    workers = Workers(2)
    assert workers.run([("forge", "a", 10.0)] * 8 + [("reference", "b", 1.0)]) <= 41.0


def test_a_task_left_alone_is_everybodys() -> None:
    assert Workers(2).run([("judge", "a", 1.0)] * 20) == 10.0
