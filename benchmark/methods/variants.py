"""The methods that a module defines, every variant of each: importing it is all there is to it."""

from __future__ import annotations

import difflib
import importlib
import itertools
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import MethodError
from benchmark.failures import printable
from benchmark.methods.base import Attack, Detector, Hardening, Method
from benchmark.methods.repair import Repair

MOST_METHODS, MOST_VARIANTS, MOST_SETTINGS = 16, 64, 16
"""Methods of a file, variants of a method, settings of a variant (and items of a list)."""
KINDS: dict[str, type[Method]] = {
    "attack": Attack,
    "hardening": Hardening,
    "detector": Detector,
    "repair": Repair,
}
"""Kinds of methods by name."""
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_TEXT = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+ -]{0,39}")


@dataclass(frozen=True)
class Variant:
    """One variant of a method.

    Args:
        name: with settings, unique in its module.
        class_name: the method's class there.
        settings: keyword arguments of this variant.
        method: the class itself.
    """

    name: str
    class_name: str
    settings: dict[str, Any]
    method: type[Method]


def module_name(file: Path, root: Path) -> str:
    """Dotted name of a project's file."""
    return ".".join(file.relative_to(root).with_suffix("").parts)


def kind_of_method(method: type[Method]) -> str:
    """One of :data:`KINDS`."""
    return next(kind for kind, base in KINDS.items() if issubclass(method, base))


def variants_of(file: Path, root: Path) -> list[Variant]:
    """Imports a file, and returns every variant of every method that it defines.

    Raises:
        MethodError: a class lacks its name, its paper or what a method must do, or two variants read alike.
    """
    name = module_name(file, root)
    module = importlib.import_module(name)
    found: list[Variant] = []
    unfinished: list[str] = []
    for class_name, value in vars(module).items():
        if not (isinstance(value, type) and issubclass(value, Method)):
            continue
        if not issubclass(value, tuple(KINDS.values())):
            continue
        if value.__module__ != name:
            continue
        if missing := getattr(value, "__abstractmethods__", None):
            unfinished += _misspelt(value, class_name, missing)
            continue
        _check_class(value, class_name)
        for settings in settings_of(value.params, class_name):
            variant = value(**settings).variant
            if any(variant == other.name for other in found):
                raise MethodError(f"two variants read {variant!r}: give settings that differ when shown")
            found.append(Variant(variant, class_name, settings, value))
            methods = {other.class_name for other in found}
            if len(methods) > MOST_METHODS:
                raise MethodError(f"defines more than {MOST_METHODS} methods: offer fewer")
    if unfinished and not found:
        raise MethodError(unfinished[0])
    return found


def _misspelt(value: type, class_name: str, missing: Iterable[str]) -> Iterator[str]:
    """What a class lacks that it has by almost the same name; a base for others lacks it altogether."""
    for name in sorted(missing):
        for near in difflib.get_close_matches(name, [own for own in vars(value) if own != name], 1, 0.7):
            yield f"class {class_name} has {near}() and lacks {name}(): rename it"


def settings_of(params: Mapping[str, Iterable[Any]], class_name: str) -> Iterator[dict[str, Any]]:
    """Every combination of the values of a class's ``params``.

    They are counted before any is made.

    Raises:
        MethodError: they are too many, or values that no variant can be named by.
    """
    if not isinstance(params, Mapping) or len(params) > MOST_SETTINGS:
        raise MethodError(
            f'class {class_name} needs params = {{"name": [values]}} of {MOST_SETTINGS} at most'
        )
    lists: dict[str, list[Any]] = {}
    for name, values in params.items():
        if isinstance(values, str | bytes) or not isinstance(values, Iterable):
            raise MethodError(
                f"class {class_name}: params of {printable(name, 40)!r} must be a list of values"
            )
        lists[name] = list(itertools.islice(values, MOST_VARIANTS + 1))
    if math.prod(len(values) for values in lists.values()) > MOST_VARIANTS:
        raise MethodError(
            f"class {class_name} has more than {MOST_VARIANTS} variants: list fewer values in params"
        )
    for values in itertools.product(*lists.values()):
        settings = dict(zip(lists, values, strict=True))
        check_settings(settings, class_name)
        yield settings


def check_settings(settings: Mapping[Any, Any], class_name: str) -> None:
    """Refuses settings that are no plain values: variants are named by them, and so are files.

    Raises:
        MethodError: a name is no identifier, or a value neither a number, a short plain text nor a list of
            such.
    """
    if len(settings) > MOST_SETTINGS:
        raise MethodError(f"class {class_name} has more than {MOST_SETTINGS} settings: give fewer")
    for name, value in settings.items():
        if not isinstance(name, str) or not _SETTING.fullmatch(name):
            raise MethodError(
                f"class {class_name}: {printable(name, 40)!r} cannot be a setting's name: write letters, "
                "digits and _"
            )
        if not _is_plain(value):
            raise MethodError(
                f"class {class_name}: setting {name} is {printable(_shown(value), 60)}: settings are finite "
                "numbers below 2**63, texts of up to 40 letters, digits, blanks and _.+-, or lists of such"
            )


def _is_plain(value: object, nested: int = 0) -> bool:
    if isinstance(value, bool) or value is None:
        return True
    if type(value) is int:
        return abs(value) < 2**63
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is str:
        return bool(_TEXT.fullmatch(value)) and ".." not in value
    if type(value) in (list, tuple) and nested < 2 and len(value) <= MOST_SETTINGS:  # type: ignore[arg-type]
        return all(_is_plain(item, nested + 1) for item in value)  # type: ignore[attr-defined]
    return False


def _shown(value: object) -> str:
    """A value in short; a number of any length is none that is written out."""
    if isinstance(value, int) and abs(value) >= 2**63:
        return "a number that is too large"
    return (
        reprlib.repr(value) if type(value) in (str, float, list, tuple, dict) else f"a {type(value).__name__}"
    )


def _check_class(method: type[Method], class_name: str) -> None:
    for attribute in ("name", "paper"):
        text = getattr(method, attribute, None)
        if not isinstance(text, str) or not text:
            raise MethodError(f'class {class_name} needs a class attribute {attribute} = "..."')
