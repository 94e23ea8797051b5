"""A new submission is a copy of a template that works: `potemkin new` writes it, its card and its README."""

from __future__ import annotations

import ast
import keyword
from pathlib import Path

from benchmark.errors import MethodError, TaskError, unknown
from benchmark.methods.names import METHOD_NAME
from benchmark.tasks.classes import TASK_CLASSES

KINDS = ("attack", "hardening", "detector", "repair")
_TEMPLATES = Path(__file__).resolve().parent / "templates"

_CARD = """\
title: {title}
authors: [Your Name]
paper: none yet          # a link or a reference; the class says the same in `paper`
licence: MIT             # of the code in this folder
tracks: [{track}]
parameters: {{}}           # settings that were chosen, and on what: never on evaluation images
division: closed         # closed: only what the task hands over; open: anything else (say what)
"""

_README = """\
# {title}

`method.py` is the {kind}, for track `{track}`; `card.yaml` says by whom, after what, licensed how.
Try it: `potemkin check submissions/{name}`, then `potemkin run {suite} {option} {name}`.
What it was chosen on, and what it was not tried on, belongs here.
"""


def new_submission(root: Path, kind: str, name: str, track: str) -> Path:
    """Writes ``submissions/NAME/`` with a working method, its card and a README; returns the folder.

    Args:
        root: the project's root.
        kind: one of :data:`KINDS`.
        name: the method's name and the folder's, such as ``sign_step``.
        track: the track that it is for.

    Raises:
        MethodError: a name that cannot be one, or that is taken.
        TaskError: an unknown track, or one that has no methods of the kind.
    """
    if track not in TASK_CLASSES:
        raise unknown("track", track, TASK_CLASSES)
    if kind not in kinds_of(track):
        others = ", ".join(name for name in TASK_CLASSES if kind in kinds_of(name))
        raise TaskError(f"track {track} has no {kind}s: name one of {others} by --track")
    check_name(root, name)
    folder = root / "submissions" / name
    title = name.replace("_", " ").capitalize()
    suite = "repairs" if kind == "repair" else "smoke"
    words = {"title": title, "kind": kind, "track": track, "name": name, "suite": suite}
    option = "--attack" if kind == "attack" else "--defense"
    folder.mkdir(parents=True)
    (folder / "method.py").write_text(_method(kind, name, track), encoding="utf-8")
    (folder / "card.yaml").write_text(_CARD.format(**words), encoding="utf-8")
    (folder / "README.md").write_text(_README.format(option=option, **words), encoding="utf-8")
    return folder


def kinds_of(track: str) -> tuple[str, ...]:
    """Those of :data:`KINDS` that a track has methods of."""
    return tuple(kind for kind in KINDS if (_TEMPLATES / track / f"{kind}.py").is_file())


def check_name(root: Path, name: str) -> None:
    """Refuses a name for a new submission that cannot be one, or that is taken, by a ``MethodError``."""
    if not METHOD_NAME.fullmatch(name) or keyword.iskeyword(name):
        raise MethodError(
            f"{name!r} cannot be a method's name: write small letters, digits and _, as in sign_step"
        )
    if (root / "submissions" / name).exists():
        raise MethodError(f"submissions/{name} is there already: choose another name, or remove it")
    for file in sorted((root / "baselines").rglob("*.py")):
        if name in _names_in(file):
            where = file.relative_to(root).as_posix()
            raise MethodError(f"{where} has a method named {name!r} already: choose another name")


def _names_in(file: Path) -> set[str]:
    """Names that classes of one of the project's own files have; read, since running takes seconds."""
    return {
        line.value.value
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.Assign)
        and isinstance(line.value, ast.Constant)
        and isinstance(line.value.value, str)
        and any(isinstance(target, ast.Name) and target.id == "name" for target in line.targets)
    }


def _method(kind: str, name: str, track: str) -> str:
    """The template with the method's own names."""
    text = (_TEMPLATES / track / f"{kind}.py").read_text(encoding="utf-8")
    class_name = "".join(part.capitalize() for part in name.split("_"))
    return text.replace("class Template(", f"class {class_name}(").replace('"template"', f'"{name}"')
