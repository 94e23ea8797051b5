"""Where in a method's own files an error came from."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

_PLACE = 120
"""Characters that a place may take."""


def with_place(error: BaseException, length: int = 300) -> str:
    """An error as one line of at most ``length`` characters, and the line of the method's that it came from.

    The line is the innermost one in ``submissions/`` or ``baselines/``: what it called is not its own.
    """
    text = " ".join(_said(error).split())
    place = _place(error)
    return text[: length - len(place)].rstrip() + place


def _said(error: BaseException) -> str:
    name = type(error).__name__
    try:
        return f"{name}: {error}" if str(error) else name
    except Exception:  # an exception of a method's own may fail to say what it is
        return name


def _place(error: BaseException) -> str:
    """`` (submissions/mine/method.py, line 17)``, or nothing where no line is a method's."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if name := _own_file(Path(frame.f_code.co_filename)):
            return f" ({name[-_PLACE:]}, line {line})"
    return ""


def _own_file(file: Path) -> str:
    """A method's file, as seen from the project's root, which modules are found from; else nothing."""
    for root in filter(None, sys.path):
        if file.is_relative_to(root) and file.relative_to(root).parts[:1] in (
            ("submissions",),
            ("baselines",),
        ):
            name = file.relative_to(root).as_posix()
            return "".join(letter if letter.isprintable() else "?" for letter in name)
    return ""
