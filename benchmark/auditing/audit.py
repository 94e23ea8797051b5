"""Whether the explanation of a person's own network can be faked, what detects it, and what hardens it.

The same attack, hardenings and detectors as in the suite, through the same steps
(:mod:`benchmark.tracks.saliency.steps`), on a person's pictures. The target of each picture is the map of
another one, of another class where there is one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from fractions import Fraction
from pathlib import Path
from typing import Any

from numpy import ndarray
from torch import Tensor, nn

from benchmark.auditing.bench import own_bench
from benchmark.auditing.foreign import Foreign, Function
from benchmark.auditing.pictures import as_tensor, audited, distinct, grey, left_out, listed, passed_over
from benchmark.auditing.report import Report
from benchmark.auditing.run import UNDEFENDED, Run
from benchmark.auditing.subject import Subject, prepared
from benchmark.errors import PotemkinError, TaskError, in_a_line
from benchmark.explainers import Explainer
from benchmark.explainers.checked import build_explainer
from benchmark.failures import StepFailed, printable
from benchmark.files.assets import locate_root
from benchmark.methods.formats import LEVELS
from benchmark.running.registry import Entry, Registry, find_methods
from benchmark.tasks.explainers import listed_explainer

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, by channel."""


def audit(
    network: nn.Module,
    pictures: Tensor | Path | str | Iterable[Path | str],
    *,
    explainer: str | Function = "gradient",
    settings: Mapping[str, Any] | None = None,
    labels: Sequence[int | str] | None = None,
    names: Sequence[str] = (),
    mean: Sequence[float] = MEAN,
    deviation: Sequence[float] = DEVIATION,
    side: int = 224,
    budget: float | str = 8 / 255,
    iterations: int = 50,
    hardenings: Iterable[str] | str | None = None,
    detectors: Iterable[str] | str | None = None,
    out: Path | str | None = None,
    called: str = "",
    tell: Callable[[str], None] = print,
) -> Report:
    """Attacks the explanations of a network, undefended first, then behind every hardening.

    Args:
        network: classifier that takes normalized pictures and gives logits.
        pictures: a folder, files, or a tensor ``[N, C, H, W]`` in [0, 1]; 2 to 64; of more files, 64. Copies
            are left out.
        explainer: a name (``potemkin list explainers``), or a function of a module, normalized pictures and
            classes that returns maps ``[N, H, W]``: captum's, say.
        settings: of an explainer that is named.
        labels: classes that are explained, by number or by name in ``names``; the predicted ones by default.
        names: of the classes.
        mean: one value per channel, subtracted from pictures; of one value, files become grey pictures.
        deviation: one value per channel, by which the difference is divided.
        side: of pictures that are read from files, in pixels.
        budget: largest change of a pixel, of 1; a text such as ``8/255`` will do.
        iterations: of the attack; of more than 20 there is a first look after 20.
        hardenings: names of those that are tried; all by default.
        detectors: likewise.
        out: folder of a page (``index.html``), which is written anew as the audit goes on; none by default.
        called: the network, on the page; by its class by default.
        tell: is told every finding.

    Returns:
        The report.

    Raises:
        TaskError: the network, the pictures or the explainer cannot be audited; the text says why.
        AssetError: a picture cannot be read.
    """
    share = _share(budget)
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise TaskError(f"iterations is a whole number of at least 1, not {iterations!r}")
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise TaskError("names is a list of the classes' names, in their order")
    if settings is not None and not isinstance(settings, Mapping):
        raise TaskError(f"settings are names and values, not {type(settings).__name__}")
    if out is not None and not isinstance(out, str | Path):
        raise TaskError(f"out is a folder, not {type(out).__name__}")
    registry = find_methods(locate_root(), set())
    wanted = {
        "hardening": _entries(registry, "hardening", hardenings),
        "detector": _entries(registry, "detector", detectors),
    }
    folder = None if out is None else _folder(Path(out))
    given = listed(pictures)
    files = audited(given)
    whole = as_tensor(given, side)
    if files and isinstance(mean, Sized) and len(mean) == 1:
        whole = grey(whole)
    kept = distinct(whole)
    tensor, labels = whole[kept], _of_kept(labels, kept, len(whole))
    subject = prepared(network, tensor, mean, deviation)
    if names and len(names) != subject.classes:
        raise TaskError(
            f"names are {len(names)}, and the network has {subject.classes} classes: give a name for each, "
            "in their order, or none"
        )
    with _in_a_sentence():
        own = _explainer(explainer, settings or {}, subject, tensor)
        bench = own_bench(subject, tensor, labels, names, own, share)
        told = [str(names[one]) if names else f"class {one}" for one in bench.cases.labels.tolist()]
        notes = [*subject.notes, *left_out(given), *passed_over(pictures)]
        if len(kept) < len(whole):
            copies = len(whole) - len(kept)
            notes.append(
                f"{copies} of {len(whole)} pictures are copies of others, or nearly, and are left out."
            )
        report = Report(
            bench.explainer.name,
            share,
            len(tensor),
            notes,
            classes=tuple(told),
            network=called or type(network).__name__,
            names=tuple(printable(files[index].name) for index in kept) if files else (),
        )
        explained = None if labels is None else bench.cases.labels
        run = Run(bench, report, registry, iterations, folder, _telling(tell), explained)
        run.undefended()
        run.detectors(wanted["detector"])
        run.hardenings(wanted["hardening"])
    return report


def _of_kept(labels: Any, kept: list[int], count: int) -> Any:
    """Labels of the pictures that are kept; what is no list of one for each is told later."""
    fits = len(kept) < count and isinstance(labels, Sequence | Tensor | ndarray) and len(labels) == count
    return [labels[index] for index in kept] if fits and not isinstance(labels, str) else labels


class _Outside(Exception):
    """What telling a finding raised: no fault of the network's."""


def _telling(tell: Callable[[str], None]) -> Callable[[str], None]:
    def told(line: str) -> None:
        try:
            tell(line)
        except Exception as error:  # a stranger's function raises what it likes
            raise _Outside from error

    return told


@contextlib.contextmanager
def _in_a_sentence() -> Iterator[None]:
    """What a network raises that an explainer, or an attack, asks for what it does not have."""
    try:
        yield
    except _Outside as outside:
        assert outside.__cause__ is not None
        raise outside.__cause__ from None
    except PotemkinError:
        raise
    except StepFailed as failed:
        raise TaskError(f"the network cannot be audited so: {failed.reason}") from failed
    except Exception as error:  # a stranger's network raises what it likes
        reason = in_a_line(error)
        raise TaskError(f"the network cannot be audited so ({type(error).__name__}: {reason})") from error


def check_wishes(explainer: str, budget: float | str) -> None:
    """Refuses an explainer's name, or a budget, that no network can be audited with.

    Raises:
        TaskError: no explainer of images has this name, or the budget is no share.
    """
    listed_explainer(explainer)
    _share(budget)


def _share(budget: float | str) -> float:
    try:
        above, _, below = str(budget).partition("/")
        share = float(Fraction(above) / Fraction(below or 1))
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        share = -1.0
    if not 0 < share < 1:
        raise TaskError(f"budget is the largest change of a pixel, between 0 and 1, not {budget}")
    if share < 1 / LEVELS - 1e-9:
        raise TaskError(
            f"budget is {share * LEVELS:.3g}/{LEVELS}, and forgeries are pictures of eight bits: within less "
            f"than 1/{LEVELS} nothing can change"
        )
    return share


def _folder(out: Path) -> Path:
    """The folder of the page, before anything takes time."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TaskError(f"cannot make the folder {out} for the page: {error.strerror}") from error
    return out


def _entries(registry: Registry, kind: str, names: Iterable[str] | str | None) -> list[Entry]:
    """Methods of a kind for maps, controls left out unless they are named.

    Raises:
        MethodError: no defense is named so.
        TaskError: one is of the other kind.
    """
    if names is not None and not isinstance(names, Iterable):
        raise TaskError(f"{kind}s are names of methods, not {names!r}")
    wanted = [names] if isinstance(names, str) else None if names is None else list(dict.fromkeys(names))
    if wanted is not None and kind == "hardening":  # which is asked first of all
        wanted = [name for name in wanted if name != UNDEFENDED]
    if wanted is not None and not wanted:
        return []
    named = registry.defenses(wanted or ())
    found = [one for one in named if "saliency" in one.method.tracks]
    if wanted and (foreign := [one for one in named if one not in found]):
        raise TaskError(f"{foreign[0].name} is not for maps: it is of track {foreign[0].method.tracks[0]}")
    other = [one.name for one in found if one.kind != kind]
    if wanted and other:
        raise TaskError(f"{other[0]} is no {kind}: name it among the other kind of defenses")
    return [one for one in found if one.kind == kind and (wanted or not one.method.control)]


def _explainer(
    wanted: str | Function, settings: Mapping[str, Any], subject: Subject, pictures: Tensor
) -> Explainer:
    if isinstance(wanted, str):
        return build_explainer(wanted, settings, subject.network, lambda count: pictures[:count])
    if not callable(wanted):
        raise TaskError(
            f"an explainer is a name or a function that returns maps, not {type(wanted).__name__}"
        )
    if settings:
        raise TaskError("settings are those of an explainer that is named: a function has its own")
    return Foreign(wanted)
