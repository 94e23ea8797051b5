"""How a step can fail, and whose fault it is: the words that stand on the cell."""

from __future__ import annotations

import re
from typing import Literal

Status = Literal["ok", "skipped", "invalid", "timeout", "oom", "crashed", "infra"]
Blame = Literal["", "method", "task", "infra"]

_TERMINAL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]"
)
"""What terminals take for orders: with parameters, with a text of their own, and short ones."""


def printable(text: object, limit: int = 300) -> str:
    """A stranger's text as one line that moves no cursor: letters, signs and single spaces.

    Line ends, control characters, orders to terminals, marks that turn the direction of writing and halves
    of characters are left out; a text that is too long ends in an ellipsis.

    Args:
        text: whatever it is; what is no text is written as one.
        limit: characters that are kept.
    """
    raw = str(text)[: 8 * limit + 1000]  # what is looked at is bounded too
    plain = _TERMINAL.sub(" ", raw)
    words = "".join(sign if sign.isprintable() else " " for sign in plain).split()
    line = " ".join(words)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


class StepFailed(Exception):
    """A step that ended in anything but ``ok``.

    Args:
        status: how it ended.
        blame: who is responsible.
        reason: one sentence, which becomes one printable line.
        culprit: variant of the method to blame, if a method is to blame.
    """

    def __init__(self, status: Status, blame: Blame, reason: str, culprit: str = "") -> None:
        super().__init__(status, blame, reason, culprit)
        self.status: Status = status
        self.blame: Blame = blame
        line = printable(reason)
        self.reason = f"{printable(culprit)}: {line}" if culprit else line
        self.culprit = culprit


def invalid(culprit: str, reason: str) -> StepFailed:
    """What a method returned breaks its contract."""
    return StepFailed("invalid", "method", reason, culprit)
