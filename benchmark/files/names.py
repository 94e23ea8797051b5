"""Texts of strangers are shown on one printable line, and make no path but a plain file name."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from benchmark.failures import is_stacked, is_visible

_LONGEST = 120
_SAFE = re.compile(rf"[A-Za-z0-9_\[][A-Za-z0-9_.=,+ \[\]-]{{0,{_LONGEST - 1}}}")
_JOINERS = "\u200c\u200d"


def is_printable(text: str) -> bool:
    """Whether a text is one line that can be shown as it is; of joiners those between letters."""
    return all(_visible(character) for character in text) and not is_stacked(text) and _joins(text)


def safe_name(text: str) -> str:
    """A text as one part of a path; another text makes another one.

    What is a plain name already stays as it is; of any other, what cannot be in one is replaced, and a digest
    tells it from others that would read alike.
    """
    if _SAFE.fullmatch(text) and ".." not in text and text.strip(" .") == text:
        return text
    plain = re.sub(r"[^A-Za-z0-9_=,+\[\]-]+", "_", text)[: _LONGEST - 20].lstrip("-") or "_"
    return f"{plain}~{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


def _joins(text: str) -> bool:
    """Whether every joiner stands between two letters of a script that has joiners; ASCII has none."""
    padded = f" {text} "
    return all(
        before > "\x7f" and before not in _JOINERS and after > "\x7f" and after not in _JOINERS
        for before, joiner, after in zip(padded, padded[1:], padded[2:], strict=False)
        if joiner in _JOINERS
    )


def _visible(character: str) -> bool:
    if not is_visible(character) and character not in _JOINERS:
        return False
    if character == " " or character in _JOINERS or (" " < character < "\x7f"):
        return True
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp", "Zs")
