"""Forgeries that were made elsewhere are handed in only once they pass the checks of a returned forgery.

What they can be made from goes out as a file, and is no more than an attack is handed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from benchmark.errors import MethodError, PotemkinError
from benchmark.failures import StepFailed
from benchmark.files.assets import sha256_of
from benchmark.files.writing import write_whole, writing
from benchmark.files.yaml import dump_yaml
from benchmark.methods.artefact import ARTEFACT, Manifest, load_manifest
from benchmark.methods.card import CARD, OPEN, TEMPLATE_AUTHOR, card_problems, load_card
from benchmark.methods.stored import LARGEST_MB, SUFFIX, StoredForgery, read_tensors, tensors_file
from benchmark.submissions.scaffold import check_name
from benchmark.tasks.task import load_task
from benchmark.tracks import handout_of, steps_of, workbench_of


@dataclass(frozen=True)
class About:
    """What the card of a new submission says.

    Args:
        title: the method's name in words; empty for its name.
        authors: by whom; none leaves the template's, which has to be replaced.
        paper: a link or a reference.
        licence: of the files.
        note: what the method is, as far as it can be told.
    """

    title: str = ""
    authors: tuple[str, ...] = ()
    paper: str = "none"
    licence: str = "CC-BY-4.0"
    note: str = "The method is not published; these are its forgeries."


def admitted(root: Path, name: str, task_id: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A forgery of every case of a task, checked as one that an attack has returned, in the task's own type.

    Args:
        root: the project's root.
        name: the submission's.
        task_id: ``track/name``.
        tensors: what the track's forge step stores: ``inputs`` ``[N, C, H, W]`` on track ``saliency``,
            ``INDEX/NAME`` on ``visualization``, ``INDEX/weights/NAME`` and ``INDEX/trigger/NAME`` on
            ``signature``.

    Raises:
        MethodError: something about the tensors is not as it must be.
        TaskError: there is no such task.
        AssetError: its weights or data are not at hand.
    """
    task = load_task(task_id, root)
    bench = workbench_of(task.track).prepare(task, root, torch.device("cpu"))
    attack = StoredForgery(str(root / "submissions" / name), {})
    try:
        return steps_of(task.track).admit(bench, attack, dict(tensors))
    except StepFailed as failure:
        raise MethodError(failure.reason) from failure


def submit(root: Path, name: str, task_id: str, tensors: Mapping[str, Tensor], about: About) -> list[Path]:
    """Hands a task's forgery in: checks it, and writes or extends ``submissions/NAME/``; the files written.

    Nothing is written unless everything is as it must be. A card that is there is left as it is.

    Args:
        root: the project's root.
        name: the submission's, and its folder's.
        task_id: ``track/name``.
        tensors: as for :func:`admitted`.
        about: what a new card says.

    Raises:
        MethodError: the name is taken or cannot be one, or something is wrong with the tensors.
        TaskError, AssetError: as for :func:`admitted`.
    """
    folder = root / "submissions" / name
    known = dict(load_manifest(folder).tasks) if (folder / ARTEFACT).exists() else {}
    if not known:
        check_name(root, name)
    kept = {
        key: value.detach().cpu().contiguous().clone()
        for key, value in admitted(root, name, task_id, tensors).items()
    }
    size = sum(value.numel() * value.element_size() for value in kept.values()) / 2**20
    if size >= LARGEST_MB:
        raise MethodError(f"{name}: the tensors take {size:.0f} MiB, and at most {LARGEST_MB} are allowed")
    file = tensors_file(folder, task_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}")
    aside.write_bytes(save(kept))  # the library's own way leaves a file that its owner alone may read
    aside.replace(file)
    tasks = dict(sorted({**known, task_id: sha256_of(file)}.items()))
    _write_yaml(folder / ARTEFACT, Manifest(tasks=tasks).model_dump())
    written = [file, folder / ARTEFACT]
    if not (folder / CARD).exists():
        _write_yaml(folder / CARD, _card(name, task_id, about))
        written.append(folder / CARD)
    return written


def export(root: Path, task_id: str, out: Path) -> None:
    """Writes what a task hands to attacks as one file of safetensors, budget and such as its metadata.

    No evaluation image is in it but those that a case hands out itself.

    Raises:
        TaskError, AssetError: as for :func:`admitted`.
        PotemkinError: the file cannot be written.
    """
    if out.is_symlink() or (out.exists() and not out.is_file()):
        raise PotemkinError(f"--out {out} is a link, a folder or a device: name a file that may be replaced")
    task = load_task(task_id, root)
    bench = workbench_of(task.track).prepare(task, root, torch.device("cpu"))
    tensors, facts = handout_of(task.track).handout(bench)
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    about = {"task": task_id, "version": str(task.version), **facts}
    with writing(out, "--out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, save(plain, metadata=about))


def artefact_problems(folder: Path, root: Path) -> list[str]:
    """All that is wrong with a submission of forgeries: one sentence per fault, each with the fix.

    Args:
        folder: ``submissions/NAME``.
        root: the project's root.
    """
    found = card_problems(folder)
    try:
        tasks = load_manifest(folder).tasks
    except MethodError as error:
        return [*found, *str(error).splitlines()]
    if not found:
        found += _card_contradictions(folder, {task.split("/")[0] for task in tasks})
    for task_id, sha256 in tasks.items():
        try:
            admitted(root, folder.name, task_id, read_tensors(tensors_file(folder, task_id), sha256))
        except PotemkinError as error:
            found.append(str(error))
    listed = {tensors_file(folder, task_id) for task_id in tasks}
    for file in sorted(set(folder.rglob(f"*{SUFFIX}")) - listed):
        shown = file.relative_to(folder).as_posix()
        found.append(f"{shown} is listed in no {ARTEFACT}: remove it, or run `potemkin submit-artefact`")
    return found


def _card_contradictions(folder: Path, tracks: set[str]) -> list[str]:
    """What a card says that the files beside it contradict."""
    card, shown = load_card(folder), f"{folder.name}/{CARD}"
    found = []
    if card.division != OPEN:
        found.append(f"{shown}: forgeries without code compete in division open; write `division: open`")
    if lacking := sorted(tracks - set(card.tracks)):
        found.append(f"{shown}: field tracks lacks {', '.join(lacking)}; add what there are forgeries of")
    return found


def _card(name: str, task_id: str, about: About) -> dict[str, object]:
    """A new card's fields."""
    return {
        "title": about.title or name.replace("_", " ").capitalize(),
        "authors": list(about.authors or (TEMPLATE_AUTHOR,)),
        "paper": about.paper,
        "licence": about.licence,
        "tracks": [task_id.split("/")[0]],
        "parameters": {},
        "division": OPEN,
        "note": about.note,
    }


def _write_yaml(path: Path, fields: dict[str, object]) -> None:
    """Writes a mapping, complete or not at all."""
    aside = path.with_name(f".{path.name}")
    aside.write_text(dump_yaml(fields), encoding="utf-8")
    aside.replace(path)
