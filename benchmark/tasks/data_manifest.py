"""Every entry of ``tasks/datasets.yaml`` is one of four models; overlapping splits are an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, TypeAdapter, model_validator

from benchmark.errors import unknown
from benchmark.files.assets import Entry, Sha256, read_manifest

SplitName = Literal["attacker", "evaluation"]
SPLITS: tuple[str, ...] = get_args(SplitName)
"""The attacker may use ``attacker``; cases and accuracies come from ``evaluation``."""


class DataEntry(Entry):
    """What every data set states."""

    licence: str
    origin: str


class RangedEntry(DataEntry):
    """A data set in a fixed order, whose splits are ranges ``[start, end)`` of it."""

    splits: dict[SplitName, tuple[NonNegativeInt, PositiveInt]]

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


class EmbeddedEntry(RangedEntry):
    """Gzipped idx files that the project ships."""

    source: Literal["embedded"]
    images: str
    images_sha256: Sha256
    labels: str
    labels_sha256: Sha256
    classes: tuple[str, ...]


class PackageDataEntry(RangedEntry):
    """ImageNet pictures inside an installed package, whose names end in the class index."""

    source: Literal["package"]
    package: str
    distribution: str
    pattern: str
    resize: PositiveInt
    crop: PositiveInt


class FolderEntry(DataEntry):
    """The user's ImageNet pictures, one folder per class, named by its WordNet id."""

    source: Literal["folder"]
    variable: str
    path: str
    resize: PositiveInt
    crop: PositiveInt
    seed: int = 0


class TorchvisionDataEntry(RangedEntry):
    """The test images of a torchvision data set."""

    source: Literal["torchvision"]
    name: Literal["CIFAR10", "CIFAR100"]
    path: str


AnyDataEntry = EmbeddedEntry | PackageDataEntry | FolderEntry | TorchvisionDataEntry
_ADAPTER: TypeAdapter[AnyDataEntry] = TypeAdapter(Annotated[AnyDataEntry, Field(discriminator="source")])
_SOURCES = {"embedded", "package", "folder", "torchvision"}


def data_entries(root: Path) -> dict[str, AnyDataEntry]:
    """All entries by name; raises ``TaskError`` naming file, entry and field."""
    return read_manifest(root / "tasks" / "datasets.yaml", _ADAPTER, _SOURCES)


def data_entry(name: str, root: Path) -> AnyDataEntry:
    """One entry; raises ``TaskError`` with the closest name for an unknown one."""
    entries = data_entries(root)
    if name not in entries:
        raise unknown("data set", name, entries)
    return entries[name]
