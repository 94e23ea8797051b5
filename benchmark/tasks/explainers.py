"""Explainers that a task may name, and what it may set of each, read from their files without torch."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from benchmark.errors import TaskError, unknown
from benchmark.tasks.kinds import Part
from benchmark.tasks.parts import Count, Finite

_FOLDER = Path("benchmark/explainers/families")
_TABLE = "RECIPES"
Above = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NotBelow = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Portion = Annotated[float, Field(gt=0, le=1)]
LayerName = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_.:-]*$")]
_KINDS: dict[str, Any] = {
    "count": Count,
    "number": Finite,
    "positive": Above,
    "non-negative": NotBelow,
    "portion": Portion,
    "flag": bool,
    "layer": LayerName,
}
"""What a recipe's settings may be; anything else is a choice of words, ``a|b|c``."""


@dataclass(frozen=True)
class ListedExplainer:
    """An explainer by its file.

    Args:
        name: as tasks call it.
        family: name of its file, without the ending.
        settings: that a task may give, each of a kind.
        kinds: the same in words, as its file says them.
    """

    name: str
    family: str
    settings: type[Part]
    kinds: Mapping[str, str]

    @property
    def table(self) -> str:
        """Where its recipe stands, as ``module:attribute``."""
        return f"{'.'.join(_FOLDER.parts)}.{self.family}:{_TABLE}"

    def file(self, root: Path) -> Path:
        """Its file in a project."""
        return root / _FOLDER / f"{self.family}.py"


@cache
def listed_explainers() -> Mapping[str, ListedExplainer]:
    """Every explainer by name, sorted.

    Raises:
        TaskError: a family's file has no such table, or a name stands in two.
    """
    found: dict[str, ListedExplainer] = {}
    for path in sorted((Path(__file__).resolve().parents[2] / _FOLDER).glob("*.py")):
        if path.stem == "__init__":
            continue
        for name, settings in _recipes(path).items():
            if name in found:
                raise TaskError(f"explainer {name!r} stands in families {found[name].family} and {path.stem}")
            found[name] = ListedExplainer(name, path.stem, _form(name, settings), settings)
    return dict(sorted(found.items()))


def listed_explainer(name: str) -> ListedExplainer:
    """One explainer; raises ``TaskError`` with the closest name for an unknown one."""
    if name not in listed_explainers():
        raise unknown("explainer", name, listed_explainers())
    return listed_explainers()[name]


def _recipes(path: Path) -> dict[str, dict[str, str]]:
    """The settings of every recipe of a file."""
    for statement in ast.parse(path.read_bytes()).body:
        target = getattr(statement, "target", None)
        if isinstance(target, ast.Name) and target.id == _TABLE and isinstance(statement, ast.AnnAssign):
            return _table(path, statement.value)
    raise TaskError(f"{path.name} of the explainers has no table {_TABLE}: see families/__init__.py")


def _table(path: Path, table: ast.expr | None) -> dict[str, dict[str, str]]:
    found = {}
    keys = table.keys if isinstance(table, ast.Dict) else [None]
    for key, recipe in zip(keys, getattr(table, "values", [None]), strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(recipe, ast.Call):
            raise TaskError(f"{path.name} of the explainers: {_TABLE} must be a literal of recipes by name")
        given = {keyword.arg: keyword.value for keyword in recipe.keywords}
        found[str(key.value)] = ast.literal_eval(given["settings"]) if "settings" in given else {}
    return found


def _form(name: str, settings: Mapping[str, str]) -> type[Part]:
    """What settings must be; those that are not given are the explainer's own."""
    fields: dict[str, Any] = {}
    for setting, kind in settings.items():
        wanted = _KINDS[kind] if kind in _KINDS else Literal[tuple(kind.split("|"))]
        fields[setting] = (wanted, None)
    return create_model(f"Settings of {name}", __base__=Part, **fields)
