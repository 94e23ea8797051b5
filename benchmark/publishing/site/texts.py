r"""Texts on pages: what strangers wrote shows as text, whatever is in it.

Markup is escaped by the templates. What markup is not, and still moves letters about or cannot be seen
(control characters, marks that turn the direction of writing), is written out as ``\u202e``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from benchmark.failures import is_visible
from benchmark.files.names import safe_name

HERE = Path(__file__).parent
_SHORT = 160
"""Characters of a stranger's text that stand in a table; its own page has all of it."""


def visible(text: str, keep: str = "") -> str:
    """The text with every character that shows nothing, or turns others, written out.

    Args:
        text: anything; halves of characters too.
        keep: characters that stay, such as the ends of lines.
    """
    return "".join(sign if sign in keep or is_visible(sign) else written(sign) for sign in text)


def written(sign: str) -> str:
    r"""A character by its number: ``\x1b``, ``\u202e``."""
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def shortened(text: object, limit: int = _SHORT) -> str:
    """The beginning of a text, with an ellipsis where that is not all."""
    shown = str(text)
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def lines(text: str) -> str:
    """A text of several lines, which stay lines."""
    return Markup("{}").format(visible(text, "\n"))


def number(value: float | None, digits: int = 2) -> str:
    """A number for reading: a true minus, no minus before zero, a dash where it is not known."""
    if value is None or value != value:
        return "\u2013"
    shown = f"{value:.{digits}f}"
    if float(shown) == 0:
        shown = shown.removeprefix("-")
    return shown.replace("-", "\u2212")


def page_name(text: str) -> str:
    """A name as that of a file; other names make other files."""
    return f"{safe_name(text)}.html"


def address(path: str) -> str:
    """A path below the site's folder as it stands in a link."""
    return quote(path, safe="/")


def data_script(name: str, value: Any) -> str:
    """A script that hands data to the page: pages opened from disk may load scripts, and nothing else.

    Args:
        name: under which the page finds it.
        value: of JSON; texts in it show as text.
    """
    text = json.dumps(_shown(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c")
    return f"(window.potemkin ??= {{}})[{json.dumps(name)}] = {text};\n"


def _shown(value: Any) -> Any:
    """The value with visible texts, and nothing for what is no number."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, float):
        return None if value != value or value in (float("inf"), float("-inf")) else value
    if isinstance(value, dict):
        return {visible(str(key)): _shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(item) for item in value]
    return value


def environment() -> Environment:
    """The templates; everything that they write is escaped and visible."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "short": shortened, "lines": lines, "address": address}
    return made
