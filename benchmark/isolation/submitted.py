"""What a submission's file offers, as it tells from a confined process: its code never runs in the harness.

What it tells is checked: a submission cannot be a control, cannot name itself in two ways, and cannot hold
anything but plain values.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.api import Repair, TaskFacts
from benchmark.errors import MethodError, unknown
from benchmark.failures import StepFailed, printable
from benchmark.files.names import is_printable
from benchmark.isolation import operations
from benchmark.isolation.host import Patience
from benchmark.isolation.stand_ins import Origin, StandIn, stand_in, stand_in_class
from benchmark.isolation.starting import confined
from benchmark.methods.variants import KINDS, MOST_METHODS, MOST_VARIANTS, check_settings
from benchmark.tasks.classes import TASK_CLASSES

SECONDS, MEMORY_GB = 20.0, 4.0
"""What a submission may take in a command to import its files and to say whether its methods apply."""
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_CLASS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_LONGEST, _LONGEST_TEXT = 120, 300
"""Letters of a variant's name, and of what is said of a method."""
MOST_OFFERED = 128
"""Variants of all methods of a submission: each is a row of every list, plan and board."""
_TOO_MANY = f"its submission offers more than {MOST_OFFERED} variants in all: list fewer values in params"
NO_FILE = "has no method.py: `potemkin new` writes one to start from"
NO_METHOD = "defines no method: derive a class from Attack, Hardening, Detector or Repair of benchmark.api"
_FLAGS = ("adaptive", "evades", "queries", "outlasts")


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


_used: defaultdict[Path, float] = defaultdict(float)
"""Seconds that a command has waited for each submission to say what it offers."""


@contextlib.contextmanager
def _waiting(folder: Path) -> Iterator[float]:
    """Seconds that are left of a submission's, of which those that pass meanwhile are taken.

    Raises:
        StepFailed: none are left.
    """
    left = SECONDS - _used[folder]
    if left <= 0:
        raise StepFailed("timeout", "method", f"took more than {SECONDS:g} s in all to say what it is for")
    started = time.perf_counter()
    try:
        yield left
    finally:
        _used[folder] += time.perf_counter() - started


def offers_of(file: Path, root: Path, seconds: float | None = None) -> list[Offer]:
    """Every variant of every method of a submission's file.

    Args:
        file: the file.
        root: the project's root.
        seconds: that it may take to say so; None for what is left of its submission's.

    Raises:
        MethodError: the file cannot be imported, or what it says of its methods cannot be.
    """
    ((_, offers),) = offers_of_files([file], root, seconds)
    if isinstance(offers, MethodError):
        raise offers
    return offers


def offers_of_files(
    files: Sequence[Path], root: Path, seconds: float | None = None
) -> Iterator[tuple[Path, list[Offer] | MethodError]]:
    """What each file of one submission offers, or why that cannot be told; all are asked in one process.

    A process that did not answer is not asked again: the files that are left get a new one. What a file
    offers beyond what a submission may in all is not taken.
    """
    waiting, room = list(files), MOST_OFFERED
    while waiting:
        try:
            folder = submission_folder(waiting[0], root)
            patience = contextlib.nullcontext(seconds) if seconds else _waiting(folder)
            with patience as left, confined(root, (folder,), left, MEMORY_GB) as guest:
                ends = time.perf_counter() + left
                while waiting:
                    guest.patience = Patience(max(ends - time.perf_counter(), 0.0), MEMORY_GB)
                    found = guest.ask("", operations.describe, root, waiting[0])
                    offers = _checked_offers(found)
                    room -= 0 if isinstance(offers, MethodError) else len(offers)
                    yield waiting.pop(0), offers if room >= 0 else MethodError(_TOO_MANY)
        except StepFailed as failure:
            yield waiting.pop(0), MethodError(printable(failure.reason, 600))
        except MethodError as error:
            yield waiting.pop(0), error


def _checked_offers(found: object) -> list[Offer] | MethodError:
    try:
        return _offers(found)
    except MethodError as error:
        return error
    except Exception as error:  # a tensor, say, where a text belongs: comparing it raises what it likes
        return MethodError(f"says of its methods what cannot be read ({type(error).__name__})")


def _offers(found: object) -> list[Offer]:
    if not isinstance(found, list):
        raise MethodError("says nothing of its methods")
    if len(found) > MOST_METHODS * MOST_VARIANTS:
        raise MethodError(
            f"has more than {MOST_METHODS * MOST_VARIANTS} variants: list fewer values in params"
        )
    classes: dict[str, type[StandIn]] = {}
    offers = [_offer(described, classes) for described in found]
    _check_offers(offers)
    return offers


def ask_skip(
    method: type[StandIn], origin: Origin, variant: str, file: Path, root: Path, task: TaskFacts
) -> str | None:
    """Why the method does not apply to a task, as it says; None where it does.

    Raises:
        StepFailed: it does not say.
    """
    folder = submission_folder(file, root)
    with (
        _waiting(folder) as patience,
        confined(root, (folder,), patience, MEMORY_GB, frozenset({variant})) as guest,
    ):
        guest.patience = Patience(patience, MEMORY_GB)
        reason = stand_in(method, origin, guest).skip(task)
        return None if reason is None else printable(reason) or "it does not say why"


def submission_folder(file: Path, root: Path) -> Path:
    """The folder right below ``submissions/`` that a file belongs to; the file itself where it lies loose."""
    home = root.resolve() / "submissions"
    for path, above in ((file, root / "submissions"), (file, home), (file.resolve(), home)):
        if path.is_relative_to(above) and path != above:
            return home / path.relative_to(above).parts[0]
    raise MethodError(f"{printable(file.name, 100)} is not below submissions/: put the file itself there")


def _offer(described: object, classes: dict[str, type[StandIn]]) -> Offer:
    if not isinstance(described, Mapping):
        raise MethodError("says nothing of its methods")
    class_name, settings, kind = (described.get(key) for key in ("class_name", "settings", "kind"))
    if not isinstance(class_name, str) or not _CLASS.fullmatch(class_name) or kind not in KINDS:
        raise MethodError("says nothing of its methods")
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise MethodError(f"class {class_name} has settings that are no numbers, texts or lists of them")
    check_settings(settings, class_name)
    if class_name not in classes:
        facts = _checked(described.get("facts"), class_name)
        if kind == "repair" and not set(facts["tracks"]) <= set(Repair.tracks):
            raise MethodError(
                f"class {class_name}: a repair changes networks: its tracks are some of "
                f"{', '.join(Repair.tracks)}"
            )
        classes[class_name] = stand_in_class(kind, class_name, facts, described.get("decides") is not False)
    method = classes[class_name]
    made = stand_in(method, Origin("", class_name, json.dumps(settings)))
    if described.get("variant") != made.variant:
        raise MethodError(f"class {class_name} changes how its variants are named: leave `variant` as it is")
    if len(made.variant) > _LONGEST:
        raise MethodError(
            f"variant {made.variant[:60]}... has a name of more than {_LONGEST} letters: shorten it"
        )
    return Offer(made.variant, settings, class_name, method)


def _check_offers(offers: list[Offer]) -> None:
    """Refuses what would be told apart by nobody, or would never end."""
    counts = Counter(offer.class_name for offer in offers)
    if len(counts) > MOST_METHODS or max(counts.values(), default=0) > MOST_VARIANTS:
        raise MethodError(
            f"has more than {MOST_METHODS} methods, or more than {MOST_VARIANTS} variants of one: offer fewer"
        )
    repeated = [name for name, count in Counter(offer.variant for offer in offers).items() if count > 1]
    if repeated:
        raise MethodError(f"two variants read {repeated[0]!r}: give settings that differ when shown")


def _checked(facts: object, class_name: str) -> dict[str, Any]:
    """Class attributes, of the types that the harness relies on."""
    if not isinstance(facts, Mapping):
        raise MethodError(f"class {class_name} says nothing of itself")
    name, paper, tracks = facts.get("name"), facts.get("paper"), facts.get("tracks")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = printable(name, 60) if isinstance(name, str) else f"a {type(name).__name__}"
        raise MethodError(f"class {class_name} needs a name of small letters, digits and _, not {shown!r}")
    if not isinstance(paper, str) or not paper:
        raise MethodError(f'class {class_name} needs a class attribute paper = "..."')
    if len(paper) > _LONGEST_TEXT or not is_printable(paper):
        raise MethodError(f"class {class_name}: paper must be one line of {_LONGEST_TEXT} letters at most")
    if not isinstance(tracks, list) or not all(isinstance(track, str) for track in tracks):
        raise MethodError(f'class {class_name} needs tracks = ("saliency",) or the like')
    for track in tracks[: len(TASK_CLASSES) + 1]:
        if track not in TASK_CLASSES:
            raise MethodError(f"class {class_name}: {unknown('track', printable(track, 60), TASK_CLASSES)}")
    if len(set(tracks)) < len(tracks):
        raise MethodError(f"class {class_name} names a track twice: name each once in `tracks`")
    control = facts.get("control", False)
    if control is not False:
        shown = "True" if control is True else f"a {type(control).__name__}"
        raise MethodError(f"class {class_name} says control = {shown}: controls are the project's own")
    flags = {name: facts[name] for name in _FLAGS if isinstance(facts.get(name), bool)}
    return {"name": name, "paper": paper, "tracks": tuple(tracks), "control": False, **flags}
