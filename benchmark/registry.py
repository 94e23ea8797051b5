"""Finds every method in baselines/ and submissions/: a file put there is all there is to registering.

A file that cannot be loaded is reported by name and reason and harms no other; two methods of one name are
an error, since nobody could tell their results apart.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import itertools
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.api import Attack, Detector, Hardening, Method
from benchmark.errors import MethodError

FOLDERS = ("baselines", "submissions")


@dataclass(frozen=True)
class Entry:
    """One variant of a method, not yet instantiated.

    Args:
        name: method name, shared by all variants.
        variant: name with settings, unique.
        module: dotted module that defines it.
        class_name: its class there.
        settings: keyword arguments of this variant.
        file: where it is defined.
        method: the class itself.
    """

    name: str
    variant: str
    module: str
    class_name: str
    settings: dict[str, Any]
    file: Path
    method: type[Method] = field(repr=False, compare=False)

    def create(self) -> Method:
        """The method, with its settings."""
        return self.method(**self.settings)

    @property
    def kind(self) -> str:
        """``attack``, ``hardening`` or ``detector``."""
        for base, kind in ((Attack, "attack"), (Hardening, "hardening"), (Detector, "detector")):
            if issubclass(self.method, base):
                return kind
        raise AssertionError(self.method)


@dataclass(frozen=True)
class Problem:
    """A file that could not be loaded."""

    file: str
    reason: str


@dataclass(frozen=True)
class Registry:
    """All methods of a project tree, and the files that could not be loaded."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]

    def attacks(self, names: Iterable[str] = ()) -> list[Entry]:
        """Attacks whose name or variant is among ``names``; all of them for none."""
        return self._chosen(("attack",), "attack", names)

    def defenses(self, names: Iterable[str] = ()) -> list[Entry]:
        """Hardenings and detectors, chosen likewise."""
        return self._chosen(("hardening", "detector"), "defense", names)

    def _chosen(self, kinds: tuple[str, ...], noun: str, names: Iterable[str]) -> list[Entry]:
        known = [entry for entry in self.entries if entry.kind in kinds]
        wanted = list(names)
        for name in wanted:
            if not any(name in (entry.name, entry.variant) for entry in known):
                broken = [p for p in self.problems if name in Path(p.file).with_suffix("").parts]
                if broken:
                    raise MethodError(f"{broken[0].file} could not be loaded: {broken[0].reason}")
                raise MethodError(f"unknown {noun} {name!r}; {_suggestion(name, known)}")
        return [e for e in known if not wanted or e.name in wanted or e.variant in wanted]


def _suggestion(name: str, known: list[Entry]) -> str:
    names = sorted({e.name for e in known} | {e.variant for e in known})
    near = difflib.get_close_matches(name, names, 1, 0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known: {', '.join(sorted({e.name for e in known}))}"


def find_methods(root: Path) -> Registry:
    """Loads every method file below ``root``; raises ``MethodError`` for two methods of one name."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    entries: list[Entry] = []
    problems: list[Problem] = []
    for file in _method_files(root):
        name = file.relative_to(root).as_posix()
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a method's prints are nobody's result
                entries.extend(_entries_of(file, root))
        except (Exception, SystemExit) as error:  # whatever a stranger's file raises when imported
            problems.append(Problem(name, f"{type(error).__name__}: {error}"))
    _check_unique(entries, root)
    return Registry(tuple(sorted(entries, key=lambda e: (e.kind, e.variant))), tuple(problems))


def _method_files(root: Path) -> list[Path]:
    files = itertools.chain.from_iterable(sorted((root / f).rglob("*.py")) for f in FOLDERS)
    return [file for file in files if file.name != "__init__.py"]


def _entries_of(file: Path, root: Path) -> list[Entry]:
    module_name = ".".join(file.relative_to(root).with_suffix("").parts)
    module = importlib.import_module(module_name)
    entries: list[Entry] = []
    for class_name, value in vars(module).items():
        if not (isinstance(value, type) and issubclass(value, Attack | Hardening | Detector)):
            continue
        if value.__module__ != module_name or getattr(value, "__abstractmethods__", None):
            continue
        _check_class(value, class_name)
        for values in itertools.product(*value.params.values()):
            settings = dict(zip(value.params, values, strict=True))
            variant = value(**settings).variant
            if any(variant == entry.variant for entry in entries):
                raise MethodError(f"two variants read {variant!r}: give settings that differ when shown")
            entries.append(Entry(value.name, variant, module_name, class_name, settings, file, value))
    return entries


def _check_class(method: type[Method], class_name: str) -> None:
    for attribute in ("name", "paper"):
        text = getattr(method, attribute, None)
        if not isinstance(text, str) or not text:
            raise MethodError(f'class {class_name} needs a class attribute {attribute} = "..."')


def _check_unique(entries: list[Entry], root: Path) -> None:
    seen: dict[str, Entry] = {}
    for entry in entries:
        other = seen.setdefault(entry.name, entry)
        if (other.module, other.class_name) != (entry.module, entry.class_name):
            files = [e.file.relative_to(root).as_posix() for e in (other, entry)]
            raise MethodError(
                f"two methods are named {entry.name!r}: {files[0]} and {files[1]}; rename one of them"
            )
