"""Which step starts next: what steps of a kind share on a task is made by as few workers as can be."""

from __future__ import annotations

from collections.abc import Callable

ORDER = {"forge": 0, "reference": 1, "judge": 2, "score": 3}
"""Kinds of steps, in the order in which they need each other."""


def turn(kind: str, task: str, having: Callable[[str, str], tuple[bool, bool]]) -> tuple[bool, int, bool]:
    """By what the next step is chosen, the least first; what is equal keeps the plan's order.

    Forgeries share little, and the longest steps are among them: they wait for nobody.

    Args:
        kind: of the step.
        task: its id.
        having: whether a worker that waits, and one at work, has done steps of a kind on a task.
    """
    waits, at_work = having(kind, task)
    return at_work and not waits and kind != "forge", ORDER[kind], not waits
