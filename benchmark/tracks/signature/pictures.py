"""Strips of the signature track: all class maps of a network, the trigger's place outlined.

Rows are cases. First what the trigger does to a grey image (of a warp: how far it moves each pixel), then
every class's map, forged above clean, the target class's in a black frame; of networks of colour pictures
between them the forged maps in their colours, on grey. Red is where more light means the class, blue where
less does; colours are scaled per network, so that a strip compares classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmark.api import Trigger
from benchmark.files.names import safe_name
from benchmark.tracks.drawing import Artefacts, Cell, Pixels, captioned, joined, shown
from benchmark.tracks.signature.signatures import signed_picture, trigger_mask
from benchmark.tracks.signature.task import SignatureTask

_OUTLINE = (0.0, 0.6, 0.0)
_MARGIN = 1
"""Width of the frame around a map, in its pixels."""


def pictures(
    cells: Iterable[Cell], samples: pd.DataFrame, store: Artefacts
) -> Iterator[tuple[str, Callable[[], Pixels]]]:
    """A strip for every cell of a hardening."""
    for cell in cells:
        if cell.defense.kind == "hardening":
            attack, defense = safe_name(cell.attack.variant), safe_name(cell.defense.variant)
            name = f"{attack}/{defense}-{cell.mode}-{cell.seed}-{cell.id[:8]}"
            yield f"{cell.task.id}/{name}", partial(_strip, cell, store)


def _strip(cell: Cell, store: Artefacts) -> Pixels:
    assert isinstance(cell.task, SignatureTask)
    forged = store.tensors("judge", cell.judge.id)["maps"]
    clean = store.tensors("reference", cell.reference.id)["clean"]
    forgery = store.tensors("forge", cell.forge.id)
    rows, classes = [], cell.task.explained(forged.shape[1])
    for index, case in enumerate(cell.task.cases):
        prefix = f"{index}/trigger/"
        found = {key.removeprefix(prefix): v for key, v in forgery.items() if key.startswith(prefix)}
        rows += _rows(Trigger.of(found), forged[index], clean[index], classes.index(case.target_class))
    return captioned(joined(rows, axis=0), ["trigger", *(f"class {label}" for label in classes)])


def _rows(trigger: Trigger | None, forged: Tensor, clean: Tensor, target: int) -> list[Pixels]:
    """Forged maps above clean ones, ``[K, C, H, W]`` each."""
    change = _shown_change(trigger, forged[0])
    still = trigger is None or trigger.positions is not None
    mask = None if still else trigger_mask(change.abs().sum(0))
    local = mask is not None and float(mask.double().mean()) < 0.2  # elsewhere an outline would hide the map
    scale = forged.abs().max()
    first = [shown(_framed(_coloured(change, change.abs().max()), marked=False))]
    for label, values in enumerate(forged):
        picture = _coloured(values, scale)
        picture = _outlined(picture, mask) if mask is not None and local else picture
        first.append(shown(_framed(picture, marked=label == target)))
    second = [_coloured(values, clean.abs().max()) for values in clean]
    second = [torch.ones_like(second[0]), *second]
    rows = [joined(first, axis=1), joined([shown(_framed(p, marked=False)) for p in second], axis=1)]
    if len(forged[0]) == 3:
        inked = [torch.ones_like(forged[0]), *(signed_picture(values) for values in forged)]
        rows.insert(1, joined([shown(_framed(p, marked=False)) for p in inked], axis=1))
    return rows


def _shown_change(trigger: Trigger | None, like: Tensor) -> Tensor:
    """What a trigger does, as a signed picture ``[C, H, W]``; a warp does nothing to a grey image."""
    if trigger is None:
        return torch.zeros_like(like)
    if trigger.positions is not None:
        height, width = like.shape[-2:]
        axes = (torch.linspace(-1, 1, height), torch.linspace(-1, 1, width))
        y, x = torch.meshgrid(*axes, indexing="ij")
        moved = trigger.positions.to(like) - torch.stack([x, y], 2).to(like)
        length: Tensor = moved.norm(dim=2)
        return length.expand_as(like)
    grey = torch.full_like(like, 0.5)[None]
    return (trigger.apply(grey) - grey)[0]


def _coloured(values: Tensor, largest: Tensor) -> Tensor:
    """``[C, H, W]`` summed over channels as ``[3, H, W]``: white at 0, red above, blue below."""
    plane = values.double().sum(0).cpu()
    plane = (plane / max(float(largest), 1e-12)).clamp(-1, 1)
    up, down = plane.clamp(min=0), (-plane).clamp(min=0)
    return torch.stack([1 - down, 1 - up - down, 1 - up]).clamp(0, 1)


def _outlined(picture: Tensor, mask: Tensor) -> Tensor:
    """The pixels around a mask's bounding box in green."""
    rows, columns = (np.flatnonzero(mask.any(axis).cpu().numpy()) for axis in (1, 0))
    top, bottom = max(rows[0] - 1, 0), min(rows[-1] + 1, picture.shape[1] - 1)
    left, right = max(columns[0] - 1, 0), min(columns[-1] + 1, picture.shape[2] - 1)
    outlined = picture.clone()
    colour = torch.tensor(_OUTLINE).to(picture)[:, None]
    outlined[:, top, left : right + 1] = outlined[:, bottom, left : right + 1] = colour
    outlined[:, top : bottom + 1, left] = outlined[:, top : bottom + 1, right] = colour
    return outlined


def _framed(picture: Tensor, marked: bool) -> Tensor:
    """The picture within a margin, black where it is marked, else white."""
    return torch.nn.functional.pad(picture, [_MARGIN] * 4, value=0.0 if marked else 1.0)
