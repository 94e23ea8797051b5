"""A data set's splits never overlap: what the attacker learns from is never what is evaluated.

``tasks/datasets.yaml`` lists the data sets and explains its fields.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmark.errors import AssetError, unknown
from benchmark.files.assets import network_timeout, sha256_of, verified
from benchmark.files.class_folders import Classes, halve, pictures_by_class
from benchmark.files.contents import content_hashes
from benchmark.files.images import imagenet_classes, read_idx, read_pictures, read_strip
from benchmark.files.tables import pictures_of_table
from benchmark.tasks.data_manifest import (
    EmbeddedEntry,
    FolderEntry,
    PackageDataEntry,
    RangedEntry,
    TableEntry,
    TorchvisionDataEntry,
    data_entry,
)

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10

__all__ = ["Data", "Split", "data_sha256", "load_data"]


@dataclass(frozen=True)
class Split:
    """Images ``[N, C, H, W]``, float32 in [0, 1], and their labels ``[N]``, int64."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """A data set, whose images are read when a split is asked for.

    Attributes:
        name: its name in ``tasks/datasets.yaml``.
        classes: class names by label.
        size: channels, height and width of an image.
        counts: number of images of every split.
    """

    name: str
    classes: tuple[str, ...]
    size: tuple[int, int, int]
    counts: dict[str, int]
    _read: Callable[[str, Sequence[int]], Split]

    def within(self, size: int) -> int:
        """Number of images that take at most ``size`` bytes as they are read; at least one."""
        return max(1, size // (4 * math.prod(self.size)))

    def split(self, name: str, limit: int | None = None) -> Split:
        """The split ``attacker`` or ``evaluation``, or its first ``limit`` images.

        Raises:
            TaskError: there is no such split.
            AssetError: an image is damaged.
        """
        return self.part(name, range(self.within_split(name, limit)))

    def within_split(self, name: str, limit: int | None = None) -> int:
        """Number of images of a split, at most ``limit``.

        Raises:
            TaskError: there is no such split.
        """
        if name not in self.counts:
            raise unknown("split", name, self.counts)
        return self.counts[name] if limit is None else min(limit, self.counts[name])

    def part(self, name: str, indices: Sequence[int]) -> Split:
        """The images of a split at some places, in their order; no others are read.

        Raises:
            AssetError: an image is damaged.
        """
        return self._read(name, indices)


def load_data(name: str, root: Path) -> Data:
    """The data set ``name``.

    Raises:
        TaskError: the data set is unknown or its entry is wrong.
        AssetError: its files are missing, damaged or fewer than its splits need.
    """
    entry = data_entry(name, root)
    match entry:
        case EmbeddedEntry():
            return _embedded(name, entry, root)
        case PackageDataEntry():
            return _package(name, entry)
        case FolderEntry() | TableEntry():
            return _own_pictures(name, entry, root)
        case TorchvisionDataEntry():
            return _torchvision(name, entry, root)


def data_sha256(name: str, root: Path) -> str:
    """A SHA-256 that changes when the data set does, as 64 hexadecimal digits.

    Embedded data are answered by the manifest, all others by the names and contents of their files. What the
    entry says of splits, seed, resizing and cropping counts too; where the files lie does not.

    Raises:
        TaskError: the data set is unknown or its entry is wrong.
        AssetError: its files are missing.
    """
    entry = data_entry(name, root)
    match entry:
        case EmbeddedEntry():
            parts = [entry.images_sha256, entry.labels_sha256]
        case PackageDataEntry():
            parts = [f"{path.name} {sha256_of(path)}" for path in _package_files(entry)]
        case FolderEntry() | TableEntry():
            place, groups = _own_classes(name, entry, root)
            found = [(kind, told, path) for kind, group in groups.items() for told, path in group.items()]
            hashes = content_hashes([path for *_, path in found], _kept(place, root))
            parts = [f"{kind}/{told} {hashes[path]}" for kind, told, path in found]
        case TorchvisionDataEntry():
            dataset = _torchvision_dataset(entry, root)
            base = Path(dataset.root) / dataset.base_folder
            parts = [sha256_of(base / file_name) for file_name, _ in dataset.test_list]
    places = {"images", "labels", "path", "variable", "package", "distribution"}
    parts = [*sorted(parts), entry.model_dump_json(exclude={"licence", "origin", *places})]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _ranges(name: str, entry: RangedEntry, available: int) -> dict[str, slice]:
    """The splits as slices, none of which reaches beyond what is there."""
    last = max(end for _, end in entry.splits.values())
    if last > available:
        raise AssetError(f"data set {name}: splits reach {last}, but there are {available} images")
    return {split: slice(*bounds) for split, bounds in entry.splits.items()}


def _in_memory(name: str, classes: Sequence[str], pixels: Tensor, labels: Tensor, entry: RangedEntry) -> Data:
    """Data whose uint8 ``pixels`` ``[N, C, H, W]`` are held; a split asked for becomes float32."""
    ranges = _ranges(name, entry, len(pixels))
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(classes):
        wrong = int(labels.max()) if int(labels.max()) >= len(classes) else int(labels.min())
        raise AssetError(f"data set {name}: label {wrong} has no class name")

    def read(split: str, indices: Sequence[int]) -> Split:
        chosen = torch.tensor(indices, dtype=torch.long)
        return Split(
            images=pixels[ranges[split]][chosen].float() / 255,
            labels=labels[ranges[split]][chosen].long(),
        )

    counts = {split: bounds.stop - bounds.start for split, bounds in ranges.items()}
    channels, height, width = pixels.shape[1:]
    return Data(name, tuple(classes), (channels, height, width), counts, read)


def _pictures(
    name: str, classes: Sequence[str], splits: dict[str, list[tuple[Path, int]]], resize: int, crop: int
) -> Data:
    """Pictures with their class indices; files are read when a split is asked for."""

    def read(split: str, indices: Sequence[int]) -> Split:
        chosen = [splits[split][index] for index in indices]
        return Split(
            images=read_pictures([path for path, _ in chosen], resize, crop),
            labels=torch.tensor([label for _, label in chosen], dtype=torch.int64),
        )

    counts = {split: len(pictures) for split, pictures in splits.items()}
    return Data(name, tuple(classes), (3, crop, crop), counts, read)


def _embedded(name: str, entry: EmbeddedEntry, root: Path) -> Data:
    """The shipped files, verified and checked against each other."""
    tasks = root / "tasks"
    file = verified(tasks / entry.images, entry.images_sha256)
    pixels = read_strip(file) if file.suffix == ".png" else read_idx(file, dimensions=3)[:, None]
    labels = read_idx(verified(tasks / entry.labels, entry.labels_sha256), dimensions=1)
    if len(pixels) != len(labels):
        raise AssetError(f"data set {name}: {len(pixels)} images but {len(labels)} labels")
    return _in_memory(name, entry.classes, pixels, labels, entry)


def _package_files(entry: PackageDataEntry) -> list[Path]:
    """The pictures inside the installed package, which is located but not imported."""
    found = importlib.util.find_spec(entry.package)
    folders = [Path(folder) for folder in (found and found.submodule_search_locations) or []]
    paths = sorted(path for folder in folders for path in folder.glob(entry.pattern))
    if not paths:
        raise AssetError(
            f"the pictures {entry.pattern} of the package {entry.package} are not installed: "
            f"run `pip install {entry.distribution}`"
        )
    return paths


def _package(name: str, entry: PackageDataEntry) -> Data:
    """The pictures in the order of their names, such as ``imagenet_07_609.jpg`` of class 609."""
    pictures = []
    for path in _package_files(entry):
        label = path.stem.rsplit("_", 1)[-1]
        if not (label.isascii() and label.isdecimal() and int(label) < len(imagenet_classes()[0])):
            raise AssetError(f"{path}: its name must end in _ and a class index below 1000")
        pictures.append((path, int(label)))
    ranges = _ranges(name, entry, len(pictures))
    splits = {split: pictures[bounds] for split, bounds in ranges.items()}
    return _pictures(name, imagenet_classes()[1], splits, entry.resize, entry.crop)


def _own_place(name: str, entry: FolderEntry | TableEntry, root: Path) -> Path:
    """Where the environment variable says that the user's pictures are, else the entry."""
    named = os.environ.get(entry.variable) if entry.variable else None
    place = Path(os.path.expanduser(named or entry.path))
    place = place if named else root / place
    is_table = isinstance(entry, TableEntry)
    if not (place.is_file() if is_table else place.is_dir()):
        kind = "file" if is_table else "folder"
        what = "a CSV file of paths and labels"
        if not is_table:
            named_by = "" if entry.classes else ", named by its WordNet id such as n01440764"
            what = f"a folder of pictures, one subfolder per class{named_by}"
        fix = f"set the environment variable {entry.variable} to" if entry.variable else "path must lead to"
        raise AssetError(f"data set {name}: there is no {kind} {place}; {fix} {what}")
    return place


def _own_classes(name: str, entry: FolderEntry | TableEntry, root: Path) -> tuple[Path, Classes]:
    """Where the user's pictures are, and which there are of every class."""
    place = _own_place(name, entry, root)
    if isinstance(entry, TableEntry):
        return place, pictures_of_table(place, entry.classes, entry.path_column, entry.label_column)
    return place, pictures_by_class(place, entry.classes)


def _own_pictures(name: str, entry: FolderEntry | TableEntry, root: Path) -> Data:
    """The user's pictures, halved within every class; copies of a picture are in one half."""
    place, groups = _own_classes(name, entry, root)
    told = entry.classes or imagenet_classes()[0]
    index = {identifier: number for number, identifier in enumerate(told)}
    halves = halve(groups, entry.seed, _twins(groups, _kept(place, root)))
    attacker, evaluation = ([(path, index[identifier]) for identifier, path in half] for half in halves)
    if not attacker or not evaluation:
        raise AssetError(f"data set {name}: {place} holds too few different pictures to be halved")
    splits = {"attacker": attacker, "evaluation": evaluation}
    return _pictures(name, entry.classes or imagenet_classes()[1], splits, entry.resize, entry.crop)


def _kept(place: Path, root: Path) -> Path:
    """Where hashes of a folder's or a table's pictures are kept between commands."""
    name = hashlib.sha256(str(place.resolve()).encode("utf-8", "surrogateescape")).hexdigest()
    return root / ".potemkin" / "hashes" / f"{name[:16]}.json"


def _twins(classes: Classes, kept: Path) -> dict[Path, str]:
    """Pictures that may be copies of each other, with their hashes: only files of one size can be."""
    sizes: dict[int, list[Path]] = {}
    for group in classes.values():
        for path in group.values():
            sizes.setdefault(path.stat().st_size, []).append(path)
    return content_hashes((path for group in sizes.values() if len(group) > 1 for path in group), kept)


def _torchvision_dataset(entry: TorchvisionDataEntry, root: Path) -> CIFAR10:
    """The library's own data set, which checks its files; they are downloaded where missing."""
    import torchvision

    factory = {
        "CIFAR10": torchvision.datasets.CIFAR10,
        "CIFAR100": torchvision.datasets.CIFAR100,
    }[entry.name]
    folder = root / entry.path
    try:
        return factory(folder, train=False)
    except RuntimeError:  # the files are missing or damaged
        pass
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with network_timeout():
            return factory(folder, train=False, download=True)
    except (OSError, HTTPException, RuntimeError) as error:
        raise AssetError(
            f"cannot download {factory.filename} ({error}): put it (from {factory.url}) into "
            f"{folder} by hand, unpack it there and run again"
        ) from error


def _torchvision(name: str, entry: TorchvisionDataEntry, root: Path) -> Data:
    """The library's test images in their own order."""
    dataset = _torchvision_dataset(entry, root)
    if len(dataset.data) != len(dataset.targets):
        raise AssetError(f"data set {name}: {len(dataset.data)} images but {len(dataset.targets)} labels")
    pixels = torch.from_numpy(dataset.data).permute(0, 3, 1, 2)
    return _in_memory(name, dataset.classes, pixels, torch.tensor(dataset.targets), entry)
