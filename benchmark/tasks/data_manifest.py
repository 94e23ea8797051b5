"""Every entry of ``tasks/datasets.yaml`` is one of five models; overlapping splits are an error."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, TypeAdapter, model_validator

from benchmark.files.assets import (
    Entry,
    Name,
    RelativePath,
    Sha256,
    Size,
    entry_names,
    read_entry,
    read_manifest,
)

SplitName = Literal["attacker", "evaluation"]
SPLITS: tuple[str, ...] = get_args(SplitName)
"""The attacker may use ``attacker``; cases and accuracies come from ``evaluation``."""


Place = Annotated[int, Field(ge=0, le=10**9)]
"""Where in a data set's order a split begins or ends."""


class DataEntry(Entry):
    """What every data set states."""

    licence: str
    origin: str


class RangedEntry(DataEntry):
    """A data set in a fixed order, whose splits are ranges ``[start, end)`` of it."""

    splits: dict[SplitName, tuple[Place, Place]]

    @model_validator(mode="after")
    def _disjoint_splits(self) -> Self:
        if set(self.splits) != set(SPLITS):
            raise ValueError(f"splits must be {' and '.join(SPLITS)}")
        first, second = sorted(self.splits.values())
        if first[0] >= first[1] or second[0] >= second[1]:
            raise ValueError("splits must not be empty: start must be below end")
        if first[1] > second[0]:
            raise ValueError(f"splits must not overlap, but {list(first)} and {list(second)} do")
        return self


def _check_crop(resize: int, crop: int) -> None:
    if crop > resize:
        raise ValueError(f"crop must not be larger than the resized picture: {crop} of {resize} pixels")


def _check_distinct(classes: tuple[str, ...]) -> None:
    twice = sorted(name for name, count in Counter(classes).items() if count > 1)
    if twice:
        raise ValueError(f"classes holds {twice[0]!r} twice")


class EmbeddedEntry(RangedEntry):
    """Gzipped idx files that the project ships; colour pictures as one PNG, below each other."""

    source: Literal["embedded"]
    images: RelativePath
    images_sha256: Sha256
    labels: RelativePath
    labels_sha256: Sha256
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=100_000)]


class PackageDataEntry(RangedEntry):
    """ImageNet pictures inside an installed package, whose names end in the class index."""

    source: Literal["package"]
    package: Name
    distribution: Name
    pattern: RelativePath
    resize: Size
    crop: Size

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        _check_crop(self.resize, self.crop)
        return self


ClassName = Annotated[str, Field(min_length=1, max_length=200)]


class OwnPicturesEntry(DataEntry):
    """The user's pictures, halved within every class."""

    path: str
    variable: Name | None = None
    resize: Size
    crop: Size
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        _check_crop(self.resize, self.crop)
        return self


class FolderEntry(OwnPicturesEntry):
    """One folder per class, named as ``classes`` says, or by ImageNet's WordNet ids."""

    source: Literal["folder"]
    classes: Annotated[tuple[ClassName, ...], Field(max_length=100_000)] = ()

    @model_validator(mode="after")
    def _distinct_classes(self) -> Self:
        _check_distinct(self.classes)
        return self


class TableEntry(OwnPicturesEntry):
    """A CSV file of paths and labels."""

    source: Literal["table"]
    classes: Annotated[tuple[ClassName, ...], Field(min_length=1, max_length=100_000)]
    path_column: Name = "path"
    label_column: Name = "label"

    @model_validator(mode="after")
    def _distinct_classes(self) -> Self:
        _check_distinct(self.classes)
        return self


class TorchvisionDataEntry(RangedEntry):
    """The test images of a torchvision data set."""

    source: Literal["torchvision"]
    name: Literal["CIFAR10", "CIFAR100"]
    path: str


AnyDataEntry = EmbeddedEntry | PackageDataEntry | FolderEntry | TableEntry | TorchvisionDataEntry
_ADAPTER: TypeAdapter[AnyDataEntry] = TypeAdapter(Annotated[AnyDataEntry, Field(discriminator="source")])
_SOURCES = {"embedded", "package", "folder", "table", "torchvision"}


def data_entries(root: Path) -> dict[str, AnyDataEntry]:
    """All entries by name; raises ``TaskError`` naming file, entry and field."""
    return read_manifest(root / "tasks" / "datasets.yaml", _ADAPTER, _SOURCES)


def dataset_names(root: Path) -> list[str]:
    """All data sets in the manifest's order; raises ``TaskError`` for a broken manifest."""
    return entry_names(root / "tasks" / "datasets.yaml")


def data_entry(name: str, root: Path) -> AnyDataEntry:
    """One entry; raises ``TaskError`` with the closest name for an unknown one."""
    return read_entry(root / "tasks" / "datasets.yaml", "data set", name, _ADAPTER, _SOURCES)
