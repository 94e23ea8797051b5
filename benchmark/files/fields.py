"""Values of fields are checked strictly: no number from text or from ``true``, nothing cut or rounded."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter
from pydantic_core import ErrorDetails

from benchmark.errors import nearest

Model = TypeVar("Model")

_MOST = 8
"""So many faults of a file are told; whoever mends those sees the others."""
_WRONG = {
    "missing": "is missing",
    "string_type": "must be text; put quotes around it",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "is not of the form asked for",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping of fields",
    "model_type": "must be a mapping of fields",
    "model_attributes_type": "must be a mapping of fields",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
}
_LIMITS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
    "too_long": ("a list of at most", "max_length"),
}
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring, _SHORT.maxlong = 2, 3, 3, 60, 30


def validated(adapter: TypeAdapter[Model], content: Any) -> Model:
    """The model of what a file says; raises pydantic's ``ValidationError``.

    It goes through JSON, whose strict reading takes a list for a tuple and 1 for 1.0, and nothing else for
    anything that it is not.
    """
    return adapter.validate_json(json.dumps(content), strict=True)


def wrong(detail: ErrorDetails) -> str:
    """What is wrong with a field's value, in the words of YAML and of this project."""
    kind, bounds = detail["type"], detail.get("ctx", {})
    if kind == "value_error":
        return str(bounds["error"])
    if kind == "literal_error":
        return f"must be {bounds['expected']}{_meant(detail['input'], bounds['expected'])}"
    if kind == "too_short":
        fewest = bounds["min_length"]
        return "is empty" if fewest == 1 else f"must be a list of at least {fewest}"
    if kind in _LIMITS:
        word, name = _LIMITS[kind]
        bound = bounds[name]
        return f"must be {word} {f'{bound:g}' if isinstance(bound, float) else bound}"
    return _WRONG.get(kind, detail["msg"])


def _meant(given: object, expected: str) -> str:
    """Which of the words that a field may say is most like what it says."""
    near = nearest(given, re.findall(r"'([^']*)'", expected), 0.5) if isinstance(given, str) else None
    return f" (did you mean {near!r}?)" if near else ""


def shortly(value: object) -> str:
    """What a field holds, on one line and in short."""
    shown = _SHORT.repr(value)
    return shown if len(shown) <= 200 else f"{shown[:197]}..."


def sentences(errors: Sequence[ErrorDetails], sentence: Callable[[ErrorDetails], str]) -> list[str]:
    """A sentence for each fault, the same one once, and not more of them than anybody reads."""
    found = list(dict.fromkeys(_cut(sentence(detail)) for detail in errors[: 10 * _MOST]))
    more = len(found) - _MOST
    return [*found[:_MOST], f"and {more} faults more"] if more > 0 else found


def _cut(text: str) -> str:
    return text if len(text) <= 1000 else f"{text[:997]}..."
