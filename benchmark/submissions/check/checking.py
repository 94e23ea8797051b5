"""Everything that is tried on a submission, in order: what costs nothing first, and nothing after a hang."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.errors import AssetError, MethodError, TaskError
from benchmark.failures import StepFailed, printable
from benchmark.isolation.submitted import NO_FILE, NO_METHOD, Offer, offers_of
from benchmark.methods.artefact import ARTEFACT, stored_attack
from benchmark.submissions.check.attacks import try_attack
from benchmark.submissions.check.costs import Spent, extrapolate
from benchmark.submissions.check.defenses import try_defense
from benchmark.submissions.check.findings import Report
from benchmark.submissions.check.papers import check_names, check_papers, files_of, not_loaded, submission_of
from benchmark.submissions.check.repairs import try_repair
from benchmark.submissions.check.subjects import Clock, Subject
from benchmark.submissions.check.tiny import tiny_benches
from benchmark.tasks.classes import TASK_CLASSES
from benchmark.tracks import workbench_of

SECONDS = 60.0
"""What a check may take."""


_TRIES = {"attack": try_attack, "repair": try_repair}


def _silent(stage: str) -> None:
    """Tells nobody."""


def check_submission(
    path: Path, root: Path, seconds: float = SECONDS, progress: Callable[[str], None] = _silent
) -> Report:
    """Tries the contract on a submission.

    Args:
        path: its folder, or a file in it.
        root: the project's root.
        seconds: that it may take; a method that needs longer is not accepted, and told what it lacks.
        progress: is told what is being tried, in a line each.

    Raises:
        MethodError: there is no submission at the path.
        AssetError: the project's own networks or images are missing.
    """
    folder = submission_of(path, root)
    report, clock = Report(printable(folder.relative_to(root).as_posix(), 200)), Clock(seconds)
    try:
        _check(folder, root, report, clock, progress)
    except (AssetError, TaskError):
        raise  # of the project's own networks, images and tasks
    except Exception as error:  # of whatever a submission may hold, a check says a sentence
        report.refuse(_broken(error))
    report.seconds = seconds - clock.left
    return report


def _check(folder: Path, root: Path, report: Report, clock: Clock, progress: Callable[[str], None]) -> None:
    progress(f"{report.name}: reading it")
    offers = _load(folder, root, report, clock)
    check_papers(folder, [offer for _, offer in offers], report)
    check_names(root, folder, [offer for _, offer in offers], report)
    seen: set[tuple[Path, str]] = set()
    for file, offer in offers:
        thorough = (file, offer.class_name) not in seen
        _try(Subject(root, file, offer, report, clock, thorough, progress))
        seen.add((file, offer.class_name))


def _broken(error: Exception) -> str:
    """What the check itself could not get over, with the place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    reason = printable(error, 160)
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return (
        f"cannot be checked: {type(error).__name__}: {reason} ({where}); take out what is unusual in it, or "
        "report this as a fault of the check"
    )


def _load(folder: Path, root: Path, report: Report, clock: Clock) -> list[tuple[Path, Offer]]:
    """Every variant of every method in a folder."""
    found: list[tuple[Path, Offer]] = []
    try:
        files = files_of(folder)
    except MethodError as error:
        report.refuse(str(error))
        return found
    for file in files:
        try:
            found += [(file, offer) for offer in offers_of(file, root, clock.patience(known=False))]
        except MethodError as error:
            not_loaded(file.relative_to(folder).as_posix(), error, report)
    if (folder / ARTEFACT).is_file():
        _forgeries(folder, report)
    elif not found and not report.findings:
        report.refuse(NO_METHOD if files else NO_FILE)
    return found


def _forgeries(folder: Path, report: Report) -> None:
    """Looks at files of forgeries; whether they are admissible a run of their tasks says."""
    try:
        _, settings = stored_attack(folder)
    except MethodError as error:
        report.refuse(str(error))
    else:
        report.tried.append(f"forgeries of {', '.join(sorted(settings['hashes']))[:200]}: files and manifest")


def _try(subject: Subject) -> None:
    """Tries a variant on a tiny task of each of its tracks."""
    spent: dict[str, Spent] = {}
    for track in dict.fromkeys(subject.offer.method.tracks):
        if track not in TASK_CLASSES:
            continue
        about = f"{subject.variant} on {track}"
        if subject.clock.left <= 0:
            subject.report.untried.append(about)
            continue
        bench = _bench(subject, track)
        if bench is not None:
            subject.report.tried.append(f"{subject.kind} {about}, task {bench.task.explainer.name}")
            one = _TRIES.get(subject.kind, try_defense)(subject, bench)
            if one is not None:
                spent[track] = one
    if spent:
        extrapolate(subject.offer, spent, subject.root, subject.report)


def _bench(subject: Subject, track: str) -> Any:
    """The first tiny task of a track that the method applies to; None where there is none."""
    reason: str | None = ""
    for bench in tiny_benches(track, subject.root):
        with subject.session(track) as session:
            try:
                reason = session.method.skip(workbench_of(track).task_facts(bench.task))
            except StepFailed as failure:
                subject.report.failed(failure, session.about, "in skip()")
                return None
        if reason is None:
            return bench
    subject.report.remark(
        f"says that it is not for the tiny task, so nothing was tried: {reason}",
        f"{subject.variant} on {track}",
    )
    return None


def prepare(root: Path) -> None:
    """Makes the project's methods importable."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
