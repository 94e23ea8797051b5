"""What a submission's file offers, as it tells from a confined process: its code never runs in the harness.

What it tells is checked: a submission cannot be a control, cannot name itself in two ways, and cannot hold
anything but plain values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.api import TaskFacts
from benchmark.errors import MethodError
from benchmark.failures import StepFailed
from benchmark.isolation import operations
from benchmark.isolation.host import confined
from benchmark.isolation.stand_ins import Origin, StandIn, stand_in, stand_in_class

SECONDS, MEMORY_GB = 20.0, 4.0
"""What importing a file, or asking a method whether it applies, may take."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_FLAGS = ("adaptive", "evades", "differentiable")
_KINDS = ("attack", "hardening", "detector")


@dataclass(frozen=True)
class Offer:
    """One variant of a submitted method.

    Args:
        variant: its name with settings.
        settings: of this variant.
        class_name: where it is in its module.
        method: a class that stands in for it.
    """

    variant: str
    settings: dict[str, Any]
    class_name: str
    method: type[StandIn]


def offers_of(file: Path, root: Path, seconds: float = SECONDS) -> list[Offer]:
    """Every variant of every method of a submission's file, which may take as long to say so.

    Raises:
        MethodError: the file cannot be imported, or what it says of its methods cannot be.
    """
    try:
        with confined(root, (submission_folder(file, root),), seconds, MEMORY_GB) as guest:
            found = guest.ask("", operations.describe, root, file)
    except StepFailed as failure:
        raise MethodError(failure.reason) from failure
    if not isinstance(found, list):
        raise MethodError("says nothing of its methods")
    classes: dict[str, type[StandIn]] = {}
    return [_offer(described, classes) for described in found]


def ask_skip(
    method: type[StandIn], origin: Origin, variant: str, file: Path, root: Path, task: TaskFacts
) -> str | None:
    """Why the method does not apply to a task, as it says; None where it does.

    Raises:
        StepFailed: it does not say.
    """
    folder = submission_folder(file, root)
    with confined(root, (folder,), SECONDS, MEMORY_GB, frozenset({variant})) as guest:
        return stand_in(method, origin, guest).skip(task)


def submission_folder(file: Path, root: Path) -> Path:
    """The folder right below ``submissions/`` that a file belongs to; the file itself where it lies loose."""
    first = file.resolve().relative_to(root.resolve() / "submissions").parts[0]
    return root.resolve() / "submissions" / first


def _offer(described: object, classes: dict[str, type[StandIn]]) -> Offer:
    if not isinstance(described, Mapping):
        raise MethodError("says nothing of its methods")
    class_name, settings, kind = (described.get(key) for key in ("class_name", "settings", "kind"))
    if not isinstance(class_name, str) or not class_name.isidentifier() or kind not in _KINDS:
        raise MethodError("says nothing of its methods")
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise MethodError(f"class {class_name} has settings that are no numbers, texts or lists of them")
    try:
        json.dumps(settings)
    except TypeError as error:
        raise MethodError(
            f"class {class_name} has settings that are no numbers, texts or lists of them"
        ) from error
    if class_name not in classes:
        facts = _checked(described.get("facts"), class_name)
        classes[class_name] = stand_in_class(kind, class_name, facts, described.get("decides") is not False)
    method = classes[class_name]
    made = stand_in(method, Origin("", class_name, json.dumps(settings)))
    if described.get("variant") != made.variant:
        raise MethodError(f"class {class_name} changes how its variants are named: leave `variant` as it is")
    return Offer(made.variant, settings, class_name, method)


def _checked(facts: object, class_name: str) -> dict[str, Any]:
    """Class attributes, of the types that the harness relies on."""
    if not isinstance(facts, Mapping):
        raise MethodError(f"class {class_name} says nothing of itself")
    name, paper, tracks = facts.get("name"), facts.get("paper"), facts.get("tracks")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise MethodError(f"class {class_name} needs a name of letters, digits and _, not {name!r}")
    if not isinstance(paper, str) or not paper:
        raise MethodError(f'class {class_name} needs a class attribute paper = "..."')
    if not isinstance(tracks, list) or not all(isinstance(track, str) for track in tracks):
        raise MethodError(f'class {class_name} needs tracks = ("saliency",) or the like')
    if facts.get("control"):
        raise MethodError(f"class {class_name} says control = True: controls are the project's own")
    flags = {name: facts[name] for name in _FLAGS if isinstance(facts.get(name), bool)}
    return {"name": name, "paper": paper, "tracks": tuple(tracks), "control": False, **flags}
