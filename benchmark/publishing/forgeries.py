"""Forged images of a published run lie beside its tables, so that anybody can judge and score them anew.

``forgeries/TASK.npz`` holds every forgery that a task's cells judge, by the id of its step: the images
``[N, C, H, W]`` as they were judged, eight bits a channel. Forged networks take a hundred times as much, and
are not published. Neither are forged images of pictures that the project does not ship: they are copies of
them, and the rights are somebody else's.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from benchmark.errors import PotemkinError, in_a_line
from benchmark.files.writing import write_whole
from benchmark.methods.formats import LEVELS, eight_bits
from benchmark.running.cells import Cell
from benchmark.running.outcome import COUNTERS
from benchmark.running.store import Record, Store, StoreDamaged, write_tensors
from benchmark.tasks.data import data_sha256
from benchmark.tasks.data_manifest import AnyDataEntry, EmbeddedEntry, data_entry, dataset_names

FORGERIES = "forgeries"
_TRACK = "saliency"
_INPUTS = "inputs"
_MADE = ("device", "torch", "commit", "started")

Images = dict[str, npt.NDArray[np.uint8]]


def withheld(cells: pd.DataFrame, root: Path) -> frozenset[str]:
    """Tasks whose forged images stay at home: their pictures are not known to be the project's own.

    What a cell was judged on is told by its SHA-256, whatever has become of its task or of the data's entry:
    what is not one of a data set that lies in the project is somebody else's.

    Args:
        cells: of a suite.
        root: the project's root.
    """
    shipped = {
        data_sha256(name, root)
        for name in dataset_names(root)
        if isinstance(_entry(name, root), EmbeddedEntry)
    }
    judged = _judged(cells)
    return frozenset(str(task) for task in judged.loc[~judged["data"].isin(shipped), "task"])


def _entry(name: str, root: Path) -> AnyDataEntry | None:
    """An entry of the manifest; None where it is wrong, so that nothing can be known of it."""
    try:
        return data_entry(name, root)
    except PotemkinError:
        return None


def gathered(cells: pd.DataFrame, store: Store, held: Collection[str] = ()) -> dict[str, Images]:
    """The forged images ``[N, C, H, W]`` that a run's cells judge, by task and by the ids of their steps.

    Args:
        cells: of the suite.
        store: where they were run.
        held: tasks whose images are not copied.

    Raises:
        PotemkinError: the store lacks a forgery, or has one that is not of eight bits.
    """
    return {
        str(task): {str(step): _levels(store, str(step), str(task)) for step in sorted(rows["forge_id"])}
        for task, rows in _judged(cells).groupby("task")
        if task not in held
    }


def write_forgeries(forgeries: dict[str, Images], folder: Path) -> None:
    """Writes forged images beside the tables of a published suite, and removes those of other tasks."""
    for task, found in forgeries.items():
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **found)
        path = _file(folder, task)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.getvalue())
    kept = {_file(folder, task) for task in forgeries}
    for file in (folder / FORGERIES).rglob("*.npz"):
        if file not in kept:
            file.unlink()


def forgery_violations(cells: pd.DataFrame, folder: Path, held: Collection[str] = ()) -> Iterator[str]:
    """A sentence for every task whose forged images are not those that its cells judge, or may not lie there.

    Args:
        cells: of the published suite.
        folder: of the published suite.
        held: tasks whose images are not copied.
    """
    wanted = _judged(cells)
    known = {_file(folder, str(task)) for task in wanted["task"].unique() if task not in held}
    for file in sorted((folder / FORGERIES).rglob("*")):
        if file not in known and not file.is_dir():
            name = file.relative_to(folder).as_posix()
            yield f"{name} is of no task whose forged images are published"
    for task, rows in wanted[~wanted["task"].isin(held)].groupby("task"):
        name = _file(folder, str(task)).relative_to(folder).as_posix()
        try:
            found = read_forgeries(folder, str(task))
        except PotemkinError as error:
            yield str(error)
            continue
        counts = dict(zip(rows["forge_id"], rows["n"], strict=True))
        for step in sorted(counts.keys() ^ found.keys()):
            yield f"{name} {'lacks' if step in counts else 'has, and no cell judges,'} forgery {step}"
        for step in sorted(counts.keys() & found.keys()):
            if len(found[step]) != counts[step]:
                yield f"{name}: forgery {step} has {len(found[step])} images of {counts[step]} cases"


def read_forgeries(folder: Path, task: str) -> Images:
    """The published forged images ``[N, C, H, W]`` of a task by the ids of their steps.

    Raises:
        PotemkinError: the file is missing or is not what `potemkin publish` writes.
    """
    path = _file(folder, task)
    name = path.relative_to(folder).as_posix()
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {step: archive[step] for step in archive.files}
    except FileNotFoundError:
        raise PotemkinError(f"{name} is missing: publish again where the suite ran") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PotemkinError(f"{name} cannot be read ({in_a_line(error, 120)})") from None
    for step, images in found.items():
        if images.dtype != np.uint8 or images.ndim != 4:
            raise PotemkinError(f"{name}: forgery {step} is no batch of images of eight bits")
    return found


def restore(
    cells: Iterable[Cell], published: pd.DataFrame, folder: Path, store: Store, held: Collection[str] = ()
) -> tuple[int, int]:
    """Lays published forgeries into a store, as if they had been made there.

    Args:
        cells: the suite's, as the project is now.
        published: its published cells.
        folder: of the published suite.
        store: where the forgeries go.
        held: tasks whose images are not copied, so that none of theirs are published.

    Returns:
        How many forgeries of images the cells of other tasks need, and how many of them the store has.

    Raises:
        PotemkinError: a published file cannot be read.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in _judged(published).to_dict("records"):
        rows[str(row["forge_id"])] = {str(name): value for name, value in row.items()}
    images: dict[str, Images] = {}
    needed: dict[str, Cell] = {}
    for cell in cells:
        if cell.forge is None or cell.task.track != _TRACK or cell.task.id in held:
            continue
        if not cell.skip and not cell.problem:
            needed.setdefault(cell.forge.id, cell)
    here = 0
    for step, cell in needed.items():
        if store.record("forge", step) is None and step in rows:
            if cell.task.id not in images:
                images[cell.task.id] = read_forgeries(folder, cell.task.id)
            if step in images[cell.task.id]:
                _put(store, cell, rows[step], images[cell.task.id][step])
        here += store.record("forge", step) is not None
    return len(needed), here


def _put(store: Store, cell: Cell, row: dict[str, Any], levels: npt.NDArray[np.uint8]) -> None:
    """Makes a published forgery a finished step of a store."""
    assert cell.forge is not None
    kind = torch.float64 if getattr(cell.task, "precision", "") == "float64" else torch.float32
    aside = store.begin()
    write_tensors(aside, {_INPUTS: _images(torch.from_numpy(levels), kind)})
    made = {name: str(row.get(f"forge_{name}") or row[name]) for name in _MADE}
    costs = {name: row[f"forge_{name}"] for name in COUNTERS if pd.notna(row[f"forge_{name}"])}
    record: Record = {
        "kind": "forge",
        "id": cell.forge.id,
        "parts": cell.forge.parts,
        "coordinates": cell.coordinates,
        **made,
        "dirty": row["dirty"] == "True",
        **dict.fromkeys(("blame", "reason", "culprit"), ""),
        "status": "ok",
        "restored": True,
        **costs,
    }
    store.commit(aside, "forge", cell.forge.id, record)


def _judged(cells: pd.DataFrame) -> pd.DataFrame:
    """For every forgery of images one of the cells that judge it."""
    chosen = (cells["track"] == _TRACK) & (cells["status"] == "ok") & (cells["forge_id"] != "")
    return cells[chosen].drop_duplicates("forge_id")


def _levels(store: Store, step: str, task: str) -> npt.NDArray[np.uint8]:
    try:
        inputs = store.tensors("forge", step)[_INPUTS]
    except (StoreDamaged, KeyError):
        raise PotemkinError(
            f"forgery {step} of {task} is not in the store {store.folder}: publish where the suite ran, or "
            "name its --store"
        ) from None
    levels = (inputs.double() * LEVELS).round().to(torch.uint8)
    if not torch.equal(_images(levels, inputs.dtype), inputs) or bool(torch.signbit(inputs).any()):
        raise PotemkinError(f"forgery {step} of {task} holds what eight bits do not")
    return levels.numpy()


def _images(levels: Tensor, kind: torch.dtype) -> Tensor:
    """Levels as the images that were judged, to the bit."""
    return eight_bits((levels.double() / LEVELS).to(kind))


def _file(folder: Path, task: str) -> Path:
    return folder / FORGERIES / f"{task}.npz"
