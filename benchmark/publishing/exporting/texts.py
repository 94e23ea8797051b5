r"""Strangers' texts in LaTeX, Markdown and spreadsheets: text, whatever is in them.

What shows nothing or turns the direction of writing is written out first, as ``\u202e``
(:func:`benchmark.publishing.site.texts.visible`). LaTeX comes out in ASCII, since which other letters a
document can print depends on its engine and fonts: accents become commands, others are written out.
"""

from __future__ import annotations

import re
import unicodedata

from benchmark.publishing.site.texts import number, visible, written

_ACCENTS = {
    **{"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0304": "="},
    **{"\u0307": ".", "\u0306": "u", "\u030c": "v", "\u030b": "H", "\u0327": "c", "\u030a": "r"},
}
"""Marks and the commands that every encoding of LaTeX's has for them."""
_WORDS = {
    **{"\\": "textbackslash", "{": "textbraceleft", "}": "textbraceright", "~": "textasciitilde"},
    **{"^": "textasciicircum", "`": "textasciigrave", "<": "textless", ">": "textgreater"},
    **{"|": "textbar", "ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"},
    **{"ł": "l", "Ł": "L", "\u0131": "i", "…": "ldots", "\u2013": "textendash", "\u2014": "textemdash"},
    **{"§": "S", "\u2018": "textquoteleft", "\u2019": "textquoteright"},
    **{"\u201c": "textquotedblleft", "\u201d": "textquotedblright"},
}
_LATEX = {
    **{sign: f"\\{word}{{}}" for sign, word in _WORDS.items()},
    **{sign: f"\\{sign}" for sign in "#$%&_"},
    **{'"': "\\symbol{34}"},  # babel makes a bare one active
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # else they are arguments of what ends a line
}
_LIGATURE = re.compile("(?<=([-,']))(?=\\1)")
"""Between signs that fonts would join to another one."""

_MARKDOWN = {
    **{sign: f"\\{sign}" for sign in "*_[]()#!~^=+"},
    **{sign: f"&#{ord(sign)};" for sign in "\\|<>&`$@"},  # nothing takes these for what they are
}
_LINKED = re.compile(r":(?=//)|(?<=[wW]{3})\.|(?<=xmpp):|(?<=mailto):", re.IGNORECASE)
"""Where a bare text would become a link."""
_FORMULA = re.compile("(^|[;,\\t|])([\\s\"']*)(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet takes a text for a formula: at its beginning, and where some locales part fields."""


def latex(text: str) -> str:
    """A text as LaTeX and BibTeX print it: one line of ASCII, braces balanced, no command of its own."""
    return _LIGATURE.sub("{}", "".join(_in_latex(sign) for sign in visible(text)))


def _in_latex(sign: str) -> str:
    if sign in _LATEX:
        return _LATEX[sign]
    if sign < "\x7f":
        return sign
    parts = unicodedata.normalize("NFD", sign)
    if len(parts) == 2 and parts[1] in _ACCENTS and parts[0].isascii() and parts[0].isalpha():
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return "".join(_LATEX.get(one, one) for one in written(sign))


def markdown(text: str) -> str:
    """A text as Markdown shows it, in a paragraph or in a table: one line without markup or links."""
    escaped = "".join(_MARKDOWN.get(sign, sign) for sign in _LINKED.sub("\0", visible(text)))
    return _restored(escaped, visible(text))


def _restored(escaped: str, text: str) -> str:
    """The marks of places that would be links as the signs that stood there, escaped."""
    signs = [match[0] for match in _LINKED.finditer(text)]
    parts = escaped.split("\0")
    return parts[0] + "".join(f"\\{sign}{rest}" for sign, rest in zip(signs, parts[1:], strict=True))


def spreadsheet(text: str) -> str:
    """A text as a spreadsheet shows it: an apostrophe stands before what it would take for a formula."""
    return _FORMULA.sub(r"\1'\2", visible(text))


def latex_number(value: float | None, digits: int = 2) -> str:
    """A number for LaTeX; an en dash where it is not known."""
    return number(value, digits).replace("\u2212", "$-$").replace("\u2013", "--")
