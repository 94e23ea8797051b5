"""The methods that a module defines, every variant of each: importing it is all there is to it."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.errors import MethodError
from benchmark.methods.base import Attack, Detector, Hardening, Method


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
    """``attack``, ``hardening`` or ``detector``."""
    for base, kind in ((Attack, "attack"), (Hardening, "hardening"), (Detector, "detector")):
        if issubclass(method, base):
            return kind
    raise AssertionError(method)


def variants_of(file: Path, root: Path) -> list[Variant]:
    """Imports a file, and returns every variant of every method that it defines.

    Raises:
        MethodError: a class lacks its name or its paper, or two variants read alike.
    """
    name = module_name(file, root)
    module = importlib.import_module(name)
    found: list[Variant] = []
    for class_name, value in vars(module).items():
        if not (isinstance(value, type) and issubclass(value, Attack | Hardening | Detector)):
            continue
        if value.__module__ != name or getattr(value, "__abstractmethods__", None):
            continue
        _check_class(value, class_name)
        for values in itertools.product(*value.params.values()):
            settings = dict(zip(value.params, values, strict=True))
            variant = value(**settings).variant
            if any(variant == other.name for other in found):
                raise MethodError(f"two variants read {variant!r}: give settings that differ when shown")
            found.append(Variant(variant, class_name, settings, value))
    return found


def _check_class(method: type[Method], class_name: str) -> None:
    for attribute in ("name", "paper"):
        text = getattr(method, attribute, None)
        if not isinstance(text, str) or not text:
            raise MethodError(f'class {class_name} needs a class attribute {attribute} = "..."')
