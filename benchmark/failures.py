"""How a step can fail, and whose fault it is: the words that stand on the cell."""

from __future__ import annotations

from typing import Literal

Status = Literal["ok", "skipped", "invalid", "timeout", "oom", "crashed", "infra"]
Blame = Literal["", "method", "task", "infra"]


class StepFailed(Exception):
    """A step that ended in anything but ``ok``.

    Args:
        status: how it ended.
        blame: who is responsible.
        reason: one sentence.
        culprit: variant of the method to blame, if a method is to blame.
    """

    def __init__(self, status: Status, blame: Blame, reason: str, culprit: str = "") -> None:
        super().__init__(status, blame, reason, culprit)
        self.status: Status = status
        self.blame: Blame = blame
        self.reason = f"{culprit}: {reason}" if culprit else reason
        self.culprit = culprit


def invalid(culprit: str, reason: str) -> StepFailed:
    """What a method returned breaks its contract."""
    return StepFailed("invalid", "method", reason, culprit)
