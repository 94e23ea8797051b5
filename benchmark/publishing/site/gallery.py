"""Pictures of published forgeries: clean, forged, target, and what each hardening shows of them.

Published are forged images; maps are drawn anew from them, as the judge draws them, by the project's own
hardenings. Submissions' code runs confined only, and is left out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmark.api import Hardening
from benchmark.methods.formats import LEVELS
from benchmark.methods.meter import Meter
from benchmark.publishing.forgeries import Images, read_forgeries, withheld
from benchmark.publishing.site.reading import Published
from benchmark.publishing.site.rows import Board
from benchmark.running.registry import Entry
from benchmark.tasks.parts import Task
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.task import SaliencyTask
from benchmark.tracks.saliency.workbench import Workbench, prepare

_LONGEST = 112
"""Pixels of a picture's longer side; larger ones are made smaller, smaller ones are enlarged by the page."""
_SEED = 0
WHICH = ("most", "least")
CAPTIONS = ("clean image", "forged image", "target map", "clean map", "forged map")


@dataclass(frozen=True)
class Shown:
    """A case under one hardening.

    Args:
        defense: variant.
        mode: of the forgery.
        before: correlation of the clean map with the target.
        after: that of the forged map.
        manipulation: of the case.
        told: what explanations tell, or None where nothing is known of it.
        pictures: captions, and addresses of data.
    """

    defense: str
    mode: str
    before: float
    after: float
    manipulation: float
    told: float | None
    pictures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Strip:
    """A case that an attack moves most, or least, without a defense; a row per hardening."""

    attack: str
    which: str
    rows: tuple[Shown, ...]


@dataclass(frozen=True)
class Gallery:
    """Pictures of a task; `left_out` are hardenings that are not shown."""

    task: str
    strips: tuple[Strip, ...]
    left_out: tuple[str, ...]

    @property
    def attacks(self) -> list[str]:
        """Whose forgeries are shown."""
        return list(dict.fromkeys(strip.attack for strip in self.strips))


def gallery_of(
    suite: Published,
    task: Task,
    boards: Sequence[Board],
    methods: Mapping[str, Entry],
    root: Path,
) -> Gallery | None:
    """Pictures of a task's published forgeries; None where it has none of images that are published.

    Raises:
        PotemkinError: a published file cannot be read, or weights or data are missing.
    """
    if not isinstance(task, SaliencyTask) or task.id in withheld(suite.cells, root):
        return None
    forged = read_forgeries(suite.folder, task.id)
    named = {board.name: board.rows for board in boards}
    rows = [row for row in named.get("hardenings", ()) if not row.control or row.name == "none"]
    own = [row.name for row in rows if row.name in methods and not methods[row.name].foreign]
    attacks = [row.name for row in named.get("attacks", ()) if not row.control]
    chosen = _chosen(suite, task.id, attacks, own)
    if not chosen:
        return None
    bench = prepare(task, root, torch.device("cpu"))
    drawn = {name: list(_drawn(bench, methods[name], chosen, forged, suite)) for name in own}
    strips = []
    for attack, which in dict.fromkeys((one.attack, one.which) for one in chosen):
        of = [
            row for name in own for case, row in drawn[name] if (case.attack, case.which) == (attack, which)
        ]
        if of:
            strips.append(Strip(attack, which, tuple(of)))
    return Gallery(task.id, tuple(strips), tuple(row.name for row in rows if row.name not in own))


@dataclass(frozen=True)
class _Chosen:
    """A forgery to show: which case of which cell, under which hardening."""

    attack: str
    which: str
    defense: str
    case: int
    row: dict[str, Any]


def _chosen(suite: Published, task: str, attacks: Sequence[str], hardenings: Sequence[str]) -> list[_Chosen]:
    """Of each attack the cases that it moves most and least undefended, by the worst forgery under each."""
    chosen = (suite.samples["task"] == task) & (suite.samples["seed"] == _SEED)
    samples = suite.samples[chosen & suite.samples["mode"].isin(["oblivious", "adaptive"])]
    samples = samples.assign(case=samples.groupby("cell_id").cumcount())
    found = []
    for attack in attacks:
        here = samples[samples["attack"] == attack].sort_values(
            "manipulation", kind="stable", ascending=False
        )
        plain = here[(here["defense"] == "none") & (here["mode"] == "oblivious")]["case"].tolist()
        for which, case in zip(WHICH, (*plain[:1], *plain[-1:]), strict=False):
            for name in hardenings:
                own = here[(here["defense"] == name) & (here["case"] == case)]
                rows: list[dict[Any, Any]] = own.head(1).to_dict("records")
                found += [_Chosen(attack, which, name, int(case), row) for row in rows]
    return found


def _drawn(
    bench: Workbench, entry: Entry, chosen: Sequence[_Chosen], forged: Images, suite: Published
) -> Iterator[tuple[_Chosen, Shown]]:
    """The chosen forgeries of one hardening with its maps, which are asked for together.

    Clean and target images are correctly classified, so that the class that the judge explains is theirs.
    """
    ids = dict(zip(suite.cells["cell_id"], suite.cells["forge_id"], strict=True))
    clean, target = bench.cases.inputs, bench.targets.inputs
    own = [
        (one, forged[ids[one.row["cell_id"]]][one.case])
        for one in chosen
        if one.defense == entry.variant
        and forged.get(ids.get(one.row["cell_id"], ""), np.empty(0)).shape == tuple(clean.shape)
    ]
    method = entry.create()
    if not own or not isinstance(method, Hardening):
        return
    images = [(torch.from_numpy(levels).double() / LEVELS).to(clean) for _, levels in own]
    asked = torch.stack(
        [
            image
            for (one, _), f in zip(own, images, strict=True)
            for image in (target[one.case], clean[one.case], f)
        ]
    )
    maps = steps.judge(bench, method, {"inputs": asked}, _SEED, Meter())["maps"]
    for index, (one, _) in enumerate(own):
        panels = (clean[one.case], images[index], *maps[3 * index : 3 * index + 3])
        told = _real(one.row.get("told"))
        yield (
            one,
            Shown(
                defense=one.defense,
                mode=str(one.row["mode"]),
                before=_real(one.row.get("pcc_target_before")),
                after=_real(one.row.get("pcc_target")),
                manipulation=_real(one.row["manipulation"]),
                told=None if told != told else told,
                pictures=tuple(zip(CAPTIONS, map(picture, panels), strict=True)),
            ),
        )


def _real(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def picture(values: Tensor) -> str:
    """An image ``[C, H, W]`` in [0, 1], or a map ``[H, W]`` as white on black, as an address of data.

    A map's 99.5th percentile is white.
    """
    values = values.detach().float().cpu()
    if values.ndim == 2:
        values = (values / torch.quantile(values.flatten(), 0.995).clamp_min(1e-12))[None]
    pixels = (values.clamp(0, 1) * LEVELS).round().to(torch.uint8).numpy()
    made = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    if max(made.size) > _LONGEST:
        made.thumbnail((_LONGEST, _LONGEST))
    content = io.BytesIO()
    made.save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
