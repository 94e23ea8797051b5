"""Every entry of ``tasks/victims.yaml`` is one of four models, and an unknown field is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    StringConstraints,
    TypeAdapter,
    field_validator,
    model_validator,
)

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

ARCHITECTURES = tuple("convolutional residual thin_residual transformer".split())  # noqa: SIM905
"""Those of :mod:`benchmark.victims.architectures`, which is read without torch here.

They are written as one text: a name that stands alone in code would count as asked for in every cell's id.
"""
LIBRARIES = ("torchvision", "timm")
WALKS = tuple("any traced captured opaque".split())  # noqa: SIM905
"""How a network may be taken apart (:mod:`benchmark.network.walks`); ``any``: by the first way that can."""


def _known_walk(name: str) -> str:
    if name not in WALKS:
        raise ValueError(f"must be one of {', '.join(WALKS)}, not {name!r}")
    return name


Walk = Annotated[str, AfterValidator(_known_walk)]


class VictimEntry(Entry):
    """What every victim states: its input, normalization, classes, licence and origin."""

    walk: Walk = "traced"

    mean: tuple[float, ...]
    deviation: tuple[PositiveFloat, ...]
    size: tuple[Size, Size, Size]
    classes: Size
    licence: str
    origin: str

    @model_validator(mode="after")
    def _one_value_per_channel(self) -> Self:
        for field, values in (("mean", self.mean), ("deviation", self.deviation)):
            if len(values) != self.size[0]:
                raise ValueError(
                    f"{field} must have one value for each of the {self.size[0]} channels of size"
                )
        if not all(0 <= value <= 1 for value in self.mean):
            raise ValueError(
                "mean is of pictures in [0, 1]: divide numbers of 0 to 255 by 255, deviation too"
            )
        return self


class CheckpointEntry(VictimEntry):
    """Weights in a file of the project, for one of its own architectures or one of a library."""

    source: Literal["checkpoint"]
    architecture: str
    settings: dict[str, Any] = {}
    weights: RelativePath
    sha256: Sha256

    @field_validator("architecture")
    @classmethod
    def _known_architecture(cls, name: str) -> str:
        library, _, own = name.rpartition("/")
        known = library in LIBRARIES and own if library else name in ARCHITECTURES
        if not known:
            of = " or ".join(f"{library}/NAME" for library in LIBRARIES)
            raise ValueError(f"must be one of {', '.join(ARCHITECTURES)}, or {of}, not {name!r}")
        return name

    @model_validator(mode="after")
    def _any_walk(self) -> Self:
        """A library's network is taken apart by the first way that can, as one of its hub is."""
        if "/" in self.architecture and "walk" not in self.model_fields_set:
            object.__setattr__(self, "walk", WALKS[0])  # frozen: set once, here
        return self


class PackageEntry(VictimEntry):
    """Weights inside an installed Python package, for a timm architecture."""

    source: Literal["package"]
    package: Name
    distribution: Name
    file: RelativePath
    sha256: Sha256
    architecture: Name
    layout: Literal["timm", "efficientnet-pytorch"] = "timm"


class TorchvisionEntry(VictimEntry):
    """A torchvision model with weights from PyTorch's hub, hashed by their file name."""

    walk: Walk = WALKS[0]
    source: Literal["torchvision"]
    name: Name
    weights: Name


HubName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}$")]
"""A model's name or a revision on a hub."""


class TimmEntry(VictimEntry):
    """A timm model with safetensors weights from the Hugging Face hub."""

    walk: Walk = WALKS[0]
    source: Literal["timm"]
    name: HubName
    revision: HubName = "main"
    sha256: Sha256 | None = None
    head: RelativePath | None = None
    head_sha256: Sha256 | None = None
    head_scale: PositiveFloat = 100.0


AnyEntry = CheckpointEntry | PackageEntry | TorchvisionEntry | TimmEntry
_ADAPTER: TypeAdapter[AnyEntry] = TypeAdapter(Annotated[AnyEntry, Field(discriminator="source")])
_SOURCES = {"checkpoint", "package", "torchvision", "timm"}


def victim_entries(root: Path) -> dict[str, AnyEntry]:
    """All entries by name; raises ``TaskError`` naming file, entry and field."""
    return read_manifest(root / "tasks" / "victims.yaml", _ADAPTER, _SOURCES)


def victim_names(root: Path) -> list[str]:
    """All victims in the manifest's order; raises ``TaskError`` for a broken manifest."""
    return entry_names(root / "tasks" / "victims.yaml")


def victim_entry(name: str, root: Path) -> AnyEntry:
    """One entry; raises ``TaskError`` with the closest name for an unknown one."""
    return read_entry(root / "tasks" / "victims.yaml", "victim", name, _ADAPTER, _SOURCES)
