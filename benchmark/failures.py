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
_SHOW_NOTHING = frozenset(
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)
"""Letters and marks that Python calls printable though nothing is seen of them: fillers, blanks, variants."""
_MARKS = "\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_STACKED = re.compile(f"(?<=[{_MARKS}]{{2}})[{_MARKS}]+")
"""Accents from the third on upon one letter."""


def printable(text: object, limit: int = 300) -> str:
    """A stranger's text as one line that moves no cursor: letters, signs and single spaces.

    Line ends, control characters, orders to terminals, marks that turn the direction of writing, letters that
    show nothing, accents upon accents and halves of characters are left out; a text that is too long ends in
    an ellipsis.

    Args:
        text: whatever it is; what is no text is written as one.
        limit: characters that are kept.
    """
    raw = str(text)[: 8 * limit + 1000]  # what is looked at is bounded too
    plain = _TERMINAL.sub(" ", raw)
    words = "".join(sign if is_visible(sign) else " " for sign in plain).split()
    line = _STACKED.sub("", " ".join(words))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def is_visible(sign: str) -> bool:
    """Whether a character can be printed and shows something, or is a space."""
    return sign.isprintable() and sign not in _SHOW_NOTHING


def is_stacked(text: str) -> bool:
    """Whether more accents stand upon one letter than any writing needs."""
    return _STACKED.search(text) is not None


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


class Contradiction(Exception):
    """What a defense said of a sample in one step is not what it said of the same sample in another."""
