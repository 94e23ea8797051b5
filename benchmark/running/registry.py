"""Finds every method in baselines/ and submissions/: a file put there is all there is to registering.

A file that cannot be loaded is reported by name and reason and harms no other. Code of submissions is run in
confined processes only; what the harness has of their methods are stand-ins. Two methods of one name are an
error, since nobody could tell their results apart: a submission that takes another's name is left out.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.api import Method, TaskFacts
from benchmark.errors import MethodError, nearest
from benchmark.failures import printable
from benchmark.files.folders import code_below, strays, submissions
from benchmark.isolation.stand_ins import Origin, StandIn, stand_in
from benchmark.isolation.submitted import NO_FILE, NO_METHOD, Offer, ask_skip, offers_of_files
from benchmark.methods.artefact import ARTEFACT, stored_attack
from benchmark.methods.card import CLOSED, OPEN, division_of
from benchmark.methods.stored import StoredForgery
from benchmark.methods.variants import kind_of_method, module_name, variants_of

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
        method: the class itself; for a submission's one that stands in for it.
        foreign: whether it is a submission's, whose code runs confined only.
        division: ``closed`` or ``open``, in which it is ranked.
    """

    name: str
    variant: str
    module: str
    class_name: str
    settings: dict[str, Any]
    file: Path
    method: type[Method] = field(repr=False, compare=False)
    foreign: bool = False
    division: str = CLOSED

    def create(self) -> Method:
        """The method, with its settings; a submission's has no process to run in."""
        if issubclass(self.method, StandIn):
            return stand_in(self.method, self.origin)
        return self.method(**self.settings)

    @property
    def origin(self) -> Origin:
        """Where to find it, and its settings."""
        return Origin(self.module, self.class_name, json.dumps(self.settings))

    def skip(self, task: TaskFacts, root: Path) -> str | None:
        """Why it does not apply to a task, as it says itself; None where it does."""
        if issubclass(self.method, StandIn):
            if not self.method.decides:
                return None
            return ask_skip(self.method, self.origin, self.variant, self.file, root, task)
        return self.create().skip(task)

    @property
    def kind(self) -> str:
        """One of :data:`benchmark.methods.variants.KINDS`."""
        return kind_of_method(self.method)


@dataclass(frozen=True)
class Problem:
    """A file that could not be loaded, and why: both one printable line."""

    file: str
    reason: str

    def __post_init__(self) -> None:
        """Whatever stands in a stranger's names and errors, it is shown on one line."""
        object.__setattr__(self, "file", printable(self.file, 200))  # frozen: set once, here
        object.__setattr__(self, "reason", printable("; ".join(self.reason.splitlines()), 600))


@dataclass(frozen=True)
class Registry:
    """All methods of a project tree, and the files that could not be loaded."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]

    def attacks(self, names: Iterable[str] = ()) -> list[Entry]:
        """Attacks whose name or variant is among ``names``; all of them for none."""
        return self._chosen(("attack",), "attack", names)

    def defenses(self, names: Iterable[str] = ()) -> list[Entry]:
        """Hardenings, detectors and repairs, chosen likewise."""
        return self._chosen(("hardening", "detector", "repair"), "defense", names)

    def _chosen(self, kinds: tuple[str, ...], noun: str, names: Iterable[str]) -> list[Entry]:
        known = [entry for entry in self.entries if entry.kind in kinds]
        wanted = list(names)
        for name in wanted:
            if not any(name in (entry.name, entry.variant) for entry in known):
                broken = [p for p in self.problems if name in Path(p.file).with_suffix("").parts]
                if broken:
                    raise MethodError(f"{broken[0].file} could not be loaded: {broken[0].reason}")
                raise MethodError(f"unknown {noun} {name!r}; {suggestion(name, known)}")
        return [e for e in known if not wanted or e.name in wanted or e.variant in wanted]


def suggestion(name: str, known: Iterable[Entry]) -> str:
    """What to say after a name that no method has: the closest one, or all there are."""
    known = list(known)
    near = nearest(name, {e.name for e in known} | {e.variant for e in known}, 0.5)
    if near:
        return f"did you mean {near!r}?"
    return f"known: {', '.join(sorted({e.name for e in known}))}"


def find_methods(root: Path, asked: Collection[str] | None = None) -> Registry:
    """Loads the method files below ``root``.

    Args:
        root: the project's root.
        asked: names of methods; submissions whose folder is not named so are neither looked at nor run,
            unless one of the names is not found without them. None for every submission.

    Raises:
        MethodError: two baselines have one name.
    """
    found = _find(root, asked)
    if asked is not None and set(asked) - {entry.name for entry in found.entries}:
        return _find(root, None)
    return found


def _is_asked(file: Path, root: Path, asked: Collection[str] | None) -> bool:
    """Whether a file is the project's own, or belongs to a submission that was asked for."""
    inside = file.relative_to(root).parts
    if asked is None or inside[0] != "submissions":
        return True
    name = Path(inside[1]).stem if len(inside) == 2 and file.suffix == ".py" else inside[1]
    return name in asked


def _find(root: Path, asked: Collection[str] | None) -> Registry:
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    entries: list[Entry] = []
    problems: list[Problem] = []
    folders, odd = _sound(root)
    problems.extend(odd)
    for file in _own_files(root):
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a method's prints are nobody's result
                entries.extend(entries_of(file, root))
        except MethodError as error:
            problems.append(Problem(file.relative_to(root).as_posix(), str(error)))
        except (Exception, SystemExit) as error:  # whatever a file raises when imported
            problems.append(Problem(file.relative_to(root).as_posix(), _raised(error)))
    for top in folders:
        if not _is_asked(top, root, asked):
            continue
        bare = (top.is_dir() or top.suffix == ".py") and not (top / ARTEFACT).exists()
        code = code_below(top)
        for file, offers in offers_of_files(code, root):
            if isinstance(offers, MethodError):
                problems.append(Problem(file.relative_to(root).as_posix(), str(offers)))
                bare = False
            else:
                entries.extend(_submitted(file, root, offers))
                bare = bare and not offers
        if bare:
            lacks = NO_METHOD if code else NO_FILE
            problems.append(Problem(top.relative_to(root).as_posix(), lacks))
    entries, forged = _without_names_of(folders, entries, root)
    problems.extend(forged)
    entries, taken = _unique(entries, root)
    problems.extend(taken)
    handed_in, faulty = _handed_in(root, folders, {entry.name for entry in entries})
    entries += [entry for entry in handed_in if _is_asked(entry.file, root, asked)]
    problems = [p for p in (*problems, *faulty) if _is_asked(root / p.file, root, asked)]
    return Registry(tuple(sorted(entries, key=lambda e: (e.kind, e.variant))), tuple(problems))


def _raised(error: BaseException) -> str:
    """What an exception says, even where it cannot say it."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


def _own_files(root: Path) -> list[Path]:
    return [file for file in sorted((root / "baselines").rglob("*.py")) if file.name != "__init__.py"]


def _sound(root: Path) -> tuple[list[Path], list[Problem]]:
    """The submissions that are plain files and folders, and what is odd about others."""
    folders = []
    problems = [
        Problem(file.relative_to(root).as_posix(), "is no submission's, and is not run: remove it")
        for file in strays(root)
    ]
    for top in submissions(root):
        try:
            code_below(top)
            folders.append(top)
        except MethodError as error:
            problems.append(Problem(top.relative_to(root).as_posix(), str(error)))
    return folders, problems


def _submitted(file: Path, root: Path, offers: Iterable[Offer]) -> list[Entry]:
    module = module_name(file, root)
    return [
        Entry(
            offer.method.name,
            offer.variant,
            module,
            offer.class_name,
            offer.settings,
            file,
            offer.method,
            True,
            division_of(file, root),
        )
        for offer in offers
    ]


def _handed_in(root: Path, folders: Iterable[Path], taken: set[str]) -> tuple[list[Entry], list[Problem]]:
    """Attacks that are files of forgeries, and what is wrong with others."""
    entries, problems = [], []
    for file in (folder / ARTEFACT for folder in folders if (folder / ARTEFACT).exists()):
        name = file.parent.name
        try:
            if name in taken:
                raise MethodError(f"there is a method named {name!r} already: rename the folder")
            method, settings = stored_attack(file.parent)
            where = StoredForgery.__module__, StoredForgery.__name__
            entries.append(Entry(name, name, *where, settings, file, method, division=OPEN))
        except MethodError as error:
            problems.append(Problem(file.relative_to(root).as_posix(), str(error)))
    return entries, problems


def entries_of(file: Path, root: Path) -> list[Entry]:
    """Imports one of the project's own files, and returns every variant of every method that it defines."""
    module = module_name(file, root)
    return [
        Entry(v.method.name, v.name, module, v.class_name, v.settings, file, v.method)
        for v in variants_of(file, root)
    ]


def _without_names_of(
    folders: Iterable[Path], entries: list[Entry], root: Path
) -> tuple[list[Entry], list[Problem]]:
    """The entries without submissions' that take the name of another one's files of forgeries."""
    homes = {folder.name: folder for folder in folders if (folder / ARTEFACT).is_file()}
    kept, problems = [], {}
    for entry in entries:
        home = homes.get(entry.name)
        if entry.foreign and home is not None and not entry.file.is_relative_to(home):
            name, place = (path.relative_to(root).as_posix() for path in (entry.file, home / ARTEFACT))
            problems[name] = Problem(name, f"{place} hands in forgeries as {entry.name!r}: rename yours")
        else:
            kept.append(entry)
    return kept, list(problems.values())


def _is_home(entry: Entry, elsewhere: set[tuple[Path, str]], root: Path) -> bool:
    """Whether a submission's folder is named as its method, and no other's that has the name is.

    A file that lies loose is at home where there is no such folder.
    """
    folder = root / "submissions"

    def home(file: Path) -> bool:
        if not file.is_relative_to(folder):
            return True
        top = folder / file.relative_to(folder).parts[0]
        loose = top.stem == entry.name and not (folder / entry.name).is_dir()
        return loose if top == file else top.name == entry.name

    return home(entry.file) and not any(home(file) for file, _ in elsewhere)


def _unique(entries: list[Entry], root: Path) -> tuple[list[Entry], list[Problem]]:
    """The entries without submissions that take another's name, and what is to be said of those."""
    places: dict[str, set[tuple[Path, str]]] = {}
    own: dict[str, Entry] = {}
    for entry in entries:
        places.setdefault(entry.name, set()).add((entry.file, entry.class_name))
        if not entry.foreign:
            other = own.setdefault(entry.name, entry)
            if (other.module, other.class_name) != (entry.module, entry.class_name):
                names = [e.file.relative_to(root).as_posix() for e in (other, entry)]
                raise MethodError(
                    f"two methods are named {entry.name!r}: {names[0]} and {names[1]}; rename one of them"
                )
    kept, problems = [], {}
    for entry in entries:
        elsewhere = places[entry.name] - {(entry.file, entry.class_name)}
        others = sorted(file.relative_to(root).as_posix() for file, _ in elsewhere)
        if entry.foreign and others and not _is_home(entry, elsewhere, root):
            name = entry.file.relative_to(root).as_posix()
            problems[name] = Problem(name, f"{others[0]} has a method named {entry.name!r} too: rename yours")
        else:
            kept.append(entry)
    return kept, list(problems.values())
