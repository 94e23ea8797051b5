"""A person's pictures become a tensor, however they come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn import functional

from benchmark.errors import AssetError, TaskError, nearest
from benchmark.failures import printable
from benchmark.files.class_folders import files_below
from benchmark.files.images import read_pictures
from benchmark.files.pictures import EXTENSIONS

MOST = 64
"""Pictures that are audited: more tell little more, and take as much longer."""
_NAMED = 3
_LISTS = (".csv", ".tsv", ".txt")
_NEARLY = 0.995
_FEW = 32
"""Pixels of a side at which pictures are compared."""
_LARGER = 256 / 224
"""How much larger than its crop a picture is made, as is usual."""


def listed(pictures: Tensor | Path | str | Iterable[Path | str]) -> Any:
    """What :func:`as_tensor` takes, a folder as its files, so that they can be counted.

    Raises:
        AssetError: there is no picture.
    """
    return files(pictures) if isinstance(pictures, str | Path) else _held(pictures)


def left_out(listed_pictures: Any) -> list[str]:
    """A sentence on files that :func:`as_tensor` leaves out, where there are more than it takes."""
    if not isinstance(listed_pictures, list) or len(listed_pictures) <= MOST:
        return []
    folders = len({path.parent for path in listed_pictures})
    which = f"one from each of {MOST} of {folders} folders" if folders > MOST else "in turn from every folder"
    return [f"Of {len(listed_pictures)} pictures {MOST} are audited, {which}."]


def _held(pictures: Any) -> Any:
    """As it is, but for what can be gone through once."""
    lasting = isinstance(pictures, Tensor | numpy.ndarray) or not isinstance(pictures, Iterable)
    return pictures if lasting else list(pictures)


def as_tensor(pictures: Tensor | Path | str | Iterable[Path | str], side: int) -> Tensor:
    """Pictures ``[N, C, H, W]`` in [0, 1], float32 on the CPU.

    Args:
        pictures: such a tensor, or of whole numbers from 0 to 255; or a folder, or files, which are resized
            and cropped to ``side``.
        side: of files' pictures, in pixels.

    Raises:
        TaskError: too few pictures, or a tensor of something else.
        AssetError: a file cannot be read.
    """
    if isinstance(side, bool) or not isinstance(side, int) or not 8 <= side <= 4096:
        raise TaskError(f"side is a whole number of pixels from 8 to 4096, not {side!r}")
    if isinstance(pictures, numpy.ndarray):
        pictures = torch.from_numpy(pictures)
    if isinstance(pictures, Tensor):
        return _counted(_checked(pictures))
    if not isinstance(pictures, str | Path):
        pictures = list(pictures) if isinstance(pictures, Iterable) else [pictures]
        if pictures and all(isinstance(one, Tensor) and one.ndim == 3 for one in pictures):
            return _counted(_checked(_stacked(pictures)))
        odd = [one for one in pictures if not isinstance(one, str | Path)]
        if odd:
            raise TaskError(
                f"pictures are a folder, files, or a tensor [N, C, H, W], not {type(odd[0]).__name__}"
            )
    return _counted(read_pictures(_evenly(files(pictures)), round(side * _LARGER), side))


def audited(listed_pictures: Any) -> list[Path]:
    """Files that :func:`as_tensor` reads of those that it is given; none where they are no files."""
    named = isinstance(listed_pictures, list) and all(isinstance(one, str | Path) for one in listed_pictures)
    return _evenly(files(listed_pictures)) if named else []


def grey(pictures: Tensor) -> Tensor:
    """Pictures ``[N, 3, H, W]`` as ``[N, 1, H, W]``, of eight bits as before."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return ((pictures * weights).sum(1, keepdim=True) * 255).round() / 255


def _evenly(found: list[Path]) -> list[Path]:
    """As many files as are audited, in turn of every folder, in their order."""
    if len(found) <= MOST:
        return found
    folders: dict[Path, list[Path]] = {}
    for file in found:
        folders.setdefault(file.parent, []).append(file)
    if len(folders) > MOST:  # those of one alphabet's beginning are of one kind
        names = list(folders)
        folders = {
            names[at * len(names) // MOST]: folders[names[at * len(names) // MOST]] for at in range(MOST)
        }
    rounds = zip_longest(*folders.values())
    chosen = [file for turn in rounds for file in turn if file is not None][:MOST]
    return [file for file in found if file in set(chosen)]


def _stacked(pictures: Iterable[Any]) -> Tensor:
    try:
        return torch.stack([one.detach().cpu() for one in pictures])
    except RuntimeError as error:
        raise TaskError(
            "pictures have several sizes: make them one, or give files, which are resized"
        ) from error


def _counted(found: Tensor) -> Tensor:
    if not 2 <= len(found) <= MOST:
        raise TaskError(
            f"pictures given: {len(found)}; an audit takes 2 to {MOST}, and 8 or more say something"
        )
    return found


def files(pictures: Path | str | Iterable[Path | str]) -> list[Path]:
    """Files of pictures, of a folder all that lie in it or in its folders, sorted.

    Raises:
        AssetError: there is no picture.
    """
    if isinstance(pictures, str | Path):
        place = Path(pictures).expanduser()
        if place.suffix.lower() in _LISTS:
            raise AssetError(
                f"{place} is no picture: an audit takes a folder or files; a list of pictures is for the "
                "data of a task (docs/tasks.md)"
            )
        if place.is_file():
            return [place]
        if not place.is_dir():
            raise AssetError(f"there is no folder or picture {place}")
        found = [path for path in files_below(place) if _is_picture(path)]
        if not found:
            raise AssetError(f"{place} holds no picture; names end in {', '.join(sorted(EXTENSIONS))}")
        return found
    return [Path(path).expanduser() for path in pictures]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and path.is_file()


def distinct(pictures: Tensor) -> list[int]:
    """Where pictures ``[N, C, H, W]`` stand of which none is a copy, or nearly one, of one before it.

    A copy of a target's picture has a map that no forgery is nearer to, and a detector that knows a copy
    knows the picture. So has one that was stored anew, made brighter or a little smaller: nearly a copy is
    what correlates by more than :data:`_NEARLY` with the picture, each seen at few pixels.

    Raises:
        TaskError: there are fewer than two.
    """
    seen: dict[bytes, int] = {}
    for index, picture in enumerate(pictures):
        seen.setdefault(picture.numpy().tobytes(), index)
    few = functional.adaptive_avg_pool2d(pictures.double(), _FEW).flatten(1)
    few = functional.normalize(few - few.mean(1, keepdim=True), dim=1)
    kept: list[int] = []
    for index in seen.values():
        if not kept or float((few[kept] @ few[index]).max()) <= _NEARLY:
            kept.append(index)
    if len(kept) < 2:
        raise TaskError(
            f"all {len(pictures)} pictures are the same, or nearly: an audit takes 2 to {MOST} that differ"
        )
    return kept


def passed_over(pictures: Any) -> list[str]:
    """A sentence on files of a folder that are no pictures by their name, or links to nothing."""
    if not isinstance(pictures, str | Path) or not Path(pictures).expanduser().is_dir():
        return []
    place = Path(pictures).expanduser()
    others = [path.relative_to(place).as_posix() for path in files_below(place) if not _is_picture(path)]
    if not others:
        return []
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return [
        printable(f"{', '.join(others[:_NAMED])}{more} in {place.name}")
        + " are no pictures by their names, or lead nowhere, and are left out."
    ]


def _checked(given: Tensor) -> Tensor:
    if given.ndim != 4 or given.shape[1] not in (1, 3):
        raise TaskError(f"pictures are a tensor [N, 1 or 3, H, W], not {list(given.shape)}")
    if not len(given):
        return given
    if not given.numel():
        raise TaskError(f"pictures have no pixels: {list(given.shape)}")
    found = given.detach().cpu()
    if found.is_complex() or found.dtype == torch.bool:
        raise TaskError(f"pictures are numbers in [0, 1], or whole ones up to 255, not {found.dtype}")
    if not found.is_floating_point():
        if int(found.max()) <= 1:
            raise TaskError("pictures of whole numbers go from 0 to 255, and these to 1: give them as float")
        found = found.float() / 255
    found = found.float()
    if not bool(found.isfinite().all()):
        raise TaskError("pictures hold values that are no numbers")
    low, high = float(found.min()), float(found.max())
    if low < 0 or high > 1:
        raise TaskError(
            f"pictures lie in [{low:.3g}, {high:.3g}]: give them as they are before they are normalized, in "
            "[0, 1], and mean and deviation beside them"
        )
    return (found * 255).round() / 255


def chosen(
    count: int, wanted: Sequence[int | str] | None, names: Sequence[str], classes: int, predicted: Tensor
) -> Tensor:
    """Classes that are explained ``[N]``: those that are told, by number or name, or predicted.

    Raises:
        TaskError: there are not as many labels as pictures, or one is no class.
    """
    if wanted is None:
        return predicted
    try:
        labels = torch.as_tensor(_numbered(wanted, names)).flatten()
    except (TypeError, ValueError, RuntimeError):
        labels = torch.zeros(0)
    whole = not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)
    if not whole or len(labels) != count or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise TaskError(f"labels are {count} numbers from 0 to {classes - 1}, one for each picture")
    return labels.long()


def _numbered(labels: Sequence[int | str], names: Sequence[str]) -> Sequence[int | str]:
    """Labels, each that is a class's name as the class's number."""
    if not isinstance(labels, list | tuple) or not any(isinstance(one, str) for one in labels):
        return labels
    for one in labels:
        if isinstance(one, str) and names.count(one) != 1:
            raise TaskError(_odd_name(one, names))
    return [names.index(one) if isinstance(one, str) else one for one in labels]


def _odd_name(label: str, names: Sequence[str]) -> str:
    if not names:
        return f"labels are numbers, not {label!r}: to give classes by their names, give names as well"
    if label in names:
        return f"label {label!r} is the name of several classes: give its number"
    near = nearest(label, names)
    hint = f": did you mean {near!r}?" if near else ""
    return f"label {label!r} is no class that names has{hint}"
