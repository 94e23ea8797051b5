"""Every error that a user can act on is a ``PotemkinError`` whose text says what to do.

The command line prints the text of these errors without a traceback; any other exception is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PotemkinError(Exception):
    """An error that a user can act on; its text names the cause and the fix."""


class TaskError(PotemkinError):
    """A task, suite or manifest says something that cannot be."""


class AssetError(PotemkinError):
    """A file of weights or data is missing, damaged or not the one that was promised."""


class MethodError(PotemkinError):
    """An attack or a defense breaks its contract."""


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like ``name``, capitals or not; None where none is."""
    names = {one.casefold(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.casefold(), list(names), 1, cutoff)
    return names[close[0]] if close else None


def in_a_line(told: object, most: int = 160) -> str:
    """What an error says, or a text, in one line of at most ``most`` letters, cut between words."""
    line = " ".join(str(told).split())
    if len(line) <= most:
        return line
    whole = line[: most - 3]
    return f"{whole.rsplit(' ', 1)[0] if ' ' in whole[most // 2 :] else whole}..."


_LISTED = 60
"""Names that are told; a library has a thousand networks."""


def unknown(kind: str, name: str, known: Iterable[str]) -> TaskError:
    """The error for a ``name`` that is none of ``known``, with the closest known name as a hint."""
    names = sorted(known)
    near = nearest(name, names)
    hint = f"did you mean {near!r}? " if near not in (None, name) else ""
    shown = name if len(name) <= 80 else f"{name[:77]}..."
    listed = ", ".join(names[:_LISTED]) or "none"
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return TaskError(f"unknown {kind} {shown!r}: {hint}known: {listed}{more}")
