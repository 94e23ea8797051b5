"""Target pictures: what a forged visualization should show, verified, and of the network's own size and mode.

``tasks/targets.yaml`` lists them; the files are PNGs, greyscale or RGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image
from pydantic import TypeAdapter

from benchmark.errors import AssetError, TaskError
from benchmark.files.assets import (
    Entry,
    RelativePath,
    Sha256,
    entry_names,
    read_entry,
    read_manifest,
    verified,
)

if TYPE_CHECKING:
    from torch import Tensor

_MODES = {1: "L", 3: "RGB"}


class TargetEntry(Entry):
    """A picture that the project ships."""

    source: Literal["picture"] = "picture"
    picture: RelativePath
    picture_sha256: Sha256
    licence: str
    origin: str


_ADAPTER: TypeAdapter[TargetEntry] = TypeAdapter(TargetEntry)


def target_entries(root: Path) -> dict[str, TargetEntry]:
    """All entries by name; raises ``TaskError`` naming file, entry and field."""
    return read_manifest(root / "tasks" / "targets.yaml", _ADAPTER, set())


def target_names(root: Path) -> list[str]:
    """All targets in the manifest's order."""
    return entry_names(root / "tasks" / "targets.yaml")


def target_sha256(name: str, root: Path) -> str:
    """SHA-256 that the manifest promises."""
    return _entry(name, root).picture_sha256


def load_target(name: str, root: Path, size: tuple[int, int, int]) -> Tensor:
    """A target picture ``[C, H, W]``, float32 in [0, 1].

    Args:
        name: as in ``tasks/targets.yaml``.
        root: the project's root.
        size: channels, height and width that the network takes.

    Raises:
        TaskError: there is no such target, or it has another size or mode; the text says which.
        AssetError: the file is missing, damaged or not the promised one.
    """
    import numpy as np  # here: lists of tasks do not wait for these two
    import torch

    entry = _entry(name, root)
    path = verified(root / "tasks" / entry.picture, entry.picture_sha256)
    channels, height, width = size
    mode = _MODES.get(channels)
    if mode is None:
        raise TaskError(f"target {name}: pictures have 1 or 3 channels, the network takes {channels}")
    try:
        with Image.open(path) as picture:
            if picture.mode != mode:
                raise TaskError(
                    f"target {name}: {entry.picture} has mode {picture.mode}, but the network takes "
                    f"{channels} channel{'s' if channels > 1 else ''}: save it as mode {mode}"
                )
            if picture.size != (width, height):
                raise TaskError(
                    f"target {name}: {entry.picture} is {picture.size[0]} x {picture.size[1]} pixels, but "
                    f"the network takes {width} x {height}: resize it"
                )
            pixels = np.asarray(picture).copy()
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three for a damaged file
        raise AssetError(f"target {name}: cannot read {entry.picture}: {error}") from error
    return torch.from_numpy(pixels).view(height, width, channels).permute(2, 0, 1).float() / 255


def _entry(name: str, root: Path) -> TargetEntry:
    return read_entry(root / "tasks" / "targets.yaml", "target", name, _ADAPTER, set())
