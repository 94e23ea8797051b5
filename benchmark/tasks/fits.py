"""Whether networks and data fit each other, as far as manifests tell: nothing is loaded."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmark.tasks.data_manifest import (
    AnyDataEntry,
    EmbeddedEntry,
    FolderEntry,
    RangedEntry,
    TableEntry,
    TorchvisionDataEntry,
    data_entry,
)
from benchmark.victims.manifest import victim_entry

_TORCHVISION = {"CIFAR10": 10, "CIFAR100": 100}
_IMAGENET_CLASSES = 1000
_IDX_IMAGES = b"\0\0\x08\x03"
"""How an idx file of bytes in three dimensions begins."""
_PNG = b"\x89PNG\r\n\x1a\n"


def misfits(data: str, victims: Iterable[str], root: Path) -> Iterator[str]:
    """``field victim: what is wrong`` for networks that take other images, or tell other classes.

    Args:
        data: a name in ``tasks/datasets.yaml``.
        victims: names in ``tasks/victims.yaml``.
        root: the project's root.
    """
    entry = data_entry(data, root)
    size, classes = image_size(entry, root), class_count(entry)
    for name in victims:
        victim = victim_entry(name, root)
        if size and victim.size != size:
            sizes = f"{_shown(victim.size)}, those of {data} are {_shown(size)}"
            yield f"field victim: {name} takes images of {sizes}; choose another network or other data"
        elif victim.classes != classes:
            yield f"field victim: {name} tells {victim.classes} classes, {data} has {classes}; choose others"


def image_count(data: str, split: str, root: Path) -> int | None:
    """Number of images of a split, where the manifest tells."""
    entry = data_entry(data, root)
    if not isinstance(entry, RangedEntry):
        return None
    start, end = next(bounds for name, bounds in entry.splits.items() if name == split)
    return end - start


def class_count(entry: AnyDataEntry) -> int:
    """Number of classes of a data set."""
    if isinstance(entry, EmbeddedEntry | TableEntry) or (isinstance(entry, FolderEntry) and entry.classes):
        return len(entry.classes)
    return _TORCHVISION[entry.name] if isinstance(entry, TorchvisionDataEntry) else _IMAGENET_CLASSES


def image_size(entry: AnyDataEntry, root: Path) -> tuple[int, int, int] | None:
    """Channels, height and width of a data set's images; None where its file does not tell."""
    if isinstance(entry, TorchvisionDataEntry):
        return 3, 32, 32
    if not isinstance(entry, EmbeddedEntry):
        return 3, entry.crop, entry.crop
    if entry.images.endswith(".png"):
        return _strip_size(root / "tasks" / entry.images)
    try:
        with gzip.open(root / "tasks" / entry.images) as file:
            header = file.read(16)
    except (OSError, EOFError, ValueError, zlib.error):  # whoever loads it says what is wrong
        return None
    if len(header) < 16 or not header.startswith(_IDX_IMAGES):
        return None
    return 1, int.from_bytes(header[8:12], "big"), int.from_bytes(header[12:16], "big")


def _strip_size(file: Path) -> tuple[int, int, int] | None:
    """Size of the square colour pictures of a strip, which is as wide as one of them."""
    try:
        with file.open("rb") as opened:
            header = opened.read(24)
    except OSError:
        return None
    side = int.from_bytes(header[16:20], "big")
    return (3, side, side) if header.startswith(_PNG) and len(header) == 24 and side else None


def _shown(size: tuple[int, int, int]) -> str:
    return " x ".join(str(side) for side in size)
