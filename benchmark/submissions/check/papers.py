"""What can be said of a submission without running its method: its place, names, tracks, card and README."""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmark.errors import MethodError, unknown
from benchmark.failures import printable
from benchmark.files.folders import code_below, submissions
from benchmark.isolation.submitted import Offer
from benchmark.methods.artefact import ARTEFACT
from benchmark.methods.card import CARD, card_problems, load_card
from benchmark.submissions.check.findings import Report, busy, fix_of
from benchmark.tasks.classes import TASK_CLASSES

_README_BYTES = 20

_MOST_FILES, _LONGEST = 16, 2**15
"""Files of another submission that are read for names, and bytes of one: reading takes one's own time."""


def submission_of(path: Path, root: Path) -> Path:
    """The folder of a submission, given that folder or a file in it.

    Raises:
        MethodError: there is none, or it lies elsewhere.
    """
    try:
        found, home = path.resolve(), root.resolve() / "submissions"
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name that none can have
        raise MethodError(f"{printable(path)} cannot be read: {printable(error)}") from None
    if not found.exists():
        meant = home / path.name
        hint = (
            f"did you mean submissions/{path.name}?"
            if meant.exists()
            else "give a submission's folder or its method.py"
        )
        raise MethodError(f"{path} does not exist: {hint}")
    if found == home:
        raise MethodError(f"{path} holds all submissions: give one of its folders, submissions/NAME")
    if not found.is_relative_to(home):
        raise MethodError(f"{path} is not below submissions/: put it into submissions/NAME/method.py")
    folder = home / found.relative_to(home).parts[0]
    if not folder.is_dir():
        raise MethodError(f"{path} has no folder of its own: put it into submissions/NAME/method.py")
    return folder


def files_of(folder: Path) -> list[Path]:
    """Its Python files, which may all define methods; raises ``MethodError`` for an odd folder."""
    return code_below(folder)


def check_papers(folder: Path, offers: list[Offer], report: Report) -> None:
    """Findings about card and README."""
    problems = card_problems(folder)
    for problem in problems:
        report.refuse(problem)
    readme = folder / "README.md"
    if not readme.is_file() or readme.stat().st_size < _README_BYTES:
        least = f"README.md is missing or shorter than {_README_BYTES} bytes"
        report.refuse(f"{least}: say in five lines what it is and does not do")
    if problems or not (folder / CARD).is_file():
        return
    declared = {track for offer in offers for track in offer.method.tracks}
    listed = set(load_card(folder).tracks)
    if offers and declared != listed:
        report.refuse(
            f"card.yaml names track {_and(listed)}, the method {_and(declared)}: make them agree, in "
            "`tracks` of both"
        )


def check_names(root: Path, folder: Path, offers: list[Offer], report: Report) -> None:
    """Findings about names that others have, and tracks that nobody has."""
    others = _names(root, folder)
    taken = {name: file for name, file in others if not _is_only_claimed(file, name, root, folder)}
    for name in dict.fromkeys(offer.method.name for offer in offers):
        if name in taken:
            where = taken[name].relative_to(root).as_posix()
            report.refuse(f"{where} has a method named {name!r} too: give yours a name of its own", name)
    for offer in {(offer.method.name, offer.method.tracks): offer for offer in offers}.values():
        for track in dict.fromkeys(offer.method.tracks):
            if track not in TASK_CLASSES:
                report.refuse(f"{unknown('track', track, TASK_CLASSES)}; mend `tracks`", offer.method.name)
        if not offer.method.tracks:
            report.refuse('declares no track: give the class tracks = ("saliency",)', offer.method.name)


def _is_only_claimed(file: Path, name: str, root: Path, own: Path) -> bool:
    """Whether the name is that of one's own folder, and another submission takes it: that one is left out."""
    return own.name == name and file.is_relative_to(root / "submissions") and file.name != ARTEFACT


def _names(root: Path, own: Path) -> Iterator[tuple[str, Path]]:
    """Names of all other methods, as their classes spell them out: read, not run."""
    files = [*sorted((root / "baselines").rglob("*.py"))]
    for top in submissions(root):
        if top == own or (top.is_file() and top.stem == own.name):  # what lies loose takes no folder's name
            continue
        if (top / ARTEFACT).is_file():
            yield top.name, top / ARTEFACT
        with contextlib.suppress(MethodError):  # an odd folder registers nothing
            files += code_below(top)[:_MOST_FILES]
    for file in files:
        yield from ((name, file) for name in _spelled(file))


def _spelled(file: Path) -> Iterator[str]:
    try:
        code = file.read_bytes()
        if len(code) > _LONGEST or b"name" not in code:
            return
        tree = ast.parse(code.decode())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):  # whoever loads it says so
        return
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for line in node.body:
            match line:
                case ast.Assign(targets=[ast.Name(id="name")], value=ast.Constant(value=str(name))):
                    yield name
                case ast.AnnAssign(target=ast.Name(id="name"), value=ast.Constant(value=str(name))):
                    yield name


def _and(names: set[str]) -> str:
    return " and ".join(sorted(names)) or "none"


def not_loaded(shown: str, error: MethodError, report: Report) -> None:
    """The finding about a file that could not be loaded."""
    reason = str(error)
    if "took more than" in reason:
        reason += f"; let it define things when imported, and compute when asked{busy(reason)}"
    elif "Error" in reason or ": " not in reason:
        reason += f"; {fix_of(reason) or 'mend it'}"
    report.refuse(f"{shown} could not be loaded: {reason}")
