"""A submission's YAML files are read as data only, and every fault in them is one sentence with its fix."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from benchmark.errors import MethodError, unknown
from benchmark.failures import printable
from benchmark.files.fields import sentences, shortly, validated, wrong
from benchmark.files.yaml import read_yaml

Form = TypeVar("Form", bound=BaseModel)

_LARGEST = 65_536


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
    shown = printable(f"{path.parent.name}/{path.name}", 200)
    try:
        fields = _fields(path, shown, remedy)
    except MethodError as error:
        return None, [str(error)]
    try:
        return validated(TypeAdapter(kind), fields), []
    except ValidationError as error:
        found = sentences(error.errors(), lambda detail: _sentence(detail, kind, examples))
        return None, [f"{shown}: {sentence}" for sentence in found]


def _fields(path: Path, shown: str, remedy: str) -> dict[str, Any]:
    """The mapping that the file holds; raises ``MethodError`` where it holds none."""
    if not path.is_symlink() and not path.exists():
        raise MethodError(f"{shown} is missing: {remedy}")
    content = read_yaml(path, shown, MethodError, _LARGEST, follow=False)
    if not isinstance(content, dict):
        raise MethodError(f"{shown} must be a mapping from names of fields to values: {remedy}")
    return content


def _sentence(detail: ErrorDetails, kind: type[BaseModel], examples: Mapping[str, str]) -> str:
    """What is wrong with which field, and how it could read."""
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{unknown('field', place, kind.model_fields)}; rename or remove it"
    what = wrong(detail)
    if not place:  # a validator of the whole model names the field and the fix itself
        return what
    given = "" if detail["type"] in ("missing", "value_error") else f" (it is {shortly(detail['input'])})"
    field = str(detail["loc"][0])
    example = f"; write it as in `{field}: {examples[field]}`" if field in examples else ""
    return f"field {place} {what}{given}{example}"
