"""A submission's YAML files are read as data only, and every fault in them is one sentence with its fix."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from benchmark.errors import MethodError, unknown

Form = TypeVar("Form", bound=BaseModel)

_LARGEST = 65_536
_SHORT = reprlib.Repr()
"""Shows what a field holds, in short: a few lines of YAML can unfold to any length."""
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxdict, _SHORT.maxstring = 2, 3, 3, 60
_WRONG = {
    "missing": "is missing",
    "string_type": "must be text; put quotes around it",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "string_pattern_mismatch": "is not of the form asked for",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "too_short": "is empty",
}


def read_form(
    path: Path, kind: type[Form], examples: Mapping[str, str], remedy: str
) -> tuple[Form | None, list[str]]:
    """A YAML file's content as a model, or all that is wrong with it.

    Args:
        path: the file; its name and that of its folder stand in every sentence.
        kind: the model; what its validators raise reads as a sentence that begins with the field.
        examples: for each field what could stand behind its colon.
        remedy: what to do where there is no such file.

    Returns:
        The model and no sentence, or no model and at least one sentence.
    """
    shown = f"{path.parent.name}/{path.name}"
    try:
        fields = _fields(path, shown, remedy)
    except MethodError as error:
        return None, [str(error)]
    try:
        return kind.model_validate(fields), []
    except ValidationError as error:
        found = [f"{shown}: {_sentence(detail, kind, examples)}" for detail in error.errors()]
        return None, list(dict.fromkeys(found))


def _fields(path: Path, shown: str, remedy: str) -> dict[str, Any]:
    """The mapping that the file holds; raises ``MethodError`` where it holds none."""
    if path.is_symlink():
        raise MethodError(f"{shown} is a link: put the file itself there")
    if not path.is_file():
        raise MethodError(f"{shown} is missing: {remedy}")
    if path.stat().st_size > _LARGEST:
        raise MethodError(f"{shown} is larger than {_LARGEST // 1024} KiB: shorten it")
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise MethodError(f"{shown} is not UTF-8 text: save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = " ".join(str(error).split())[:200]
        raise MethodError(f"{shown} is not valid YAML, mend it: {text}") from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise MethodError(f"{shown} must be a mapping from names of fields to values: {remedy}")
    return content


def _sentence(detail: ErrorDetails, kind: type[BaseModel], examples: Mapping[str, str]) -> str:
    """What is wrong with which field, and how it could read."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{unknown('field', place, kind.model_fields)}; rename or remove it"
    if detail["type"] == "literal_error":
        wrong = f"must be {detail['ctx']['expected']}"
    elif detail["type"] == "value_error":
        wrong = str(detail["ctx"]["error"])
    else:
        wrong = _WRONG.get(detail["type"], detail["msg"])
    if not place:  # a validator of the whole model names the field and the fix itself
        return wrong
    given = "" if detail["type"] in ("missing", "value_error") else f" (it is {_SHORT.repr(detail['input'])})"
    field = str(detail["loc"][0])
    example = f"; write it as in `{field}: {examples[field]}`" if field in examples else ""
    return f"field {place} {wrong}{given}{example}"
