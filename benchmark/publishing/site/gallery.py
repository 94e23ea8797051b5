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

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from benchmark.api import Hardening
from benchmark.errors import PotemkinError
from benchmark.methods.formats import LEVELS
from benchmark.methods.meter import Meter
from benchmark.publishing.forgeries import Images, read_forgeries
from benchmark.publishing.site.reading import Published
from benchmark.publishing.site.rows import Board
from benchmark.running.registry import Entry
from benchmark.tasks.parts import Task
from benchmark.tracks.saliency import steps
from benchmark.tracks.saliency.task import SaliencyTask
from benchmark.tracks.saliency.workbench import Workbench, prepare

_LONGEST = 112
"""Pixels of a picture's longer side; larger ones are made smaller, smaller ones are enlarged by the page."""
_CONTRAST = 5
_SEED = 0
WHICH = ("most", "least")


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
    """Pictures of a task's published forgeries; None where it has none, or not of images.

    Raises:
        PotemkinError: a published file cannot be read, or weights or data are missing.
    """
    if not isinstance(task, SaliencyTask):
        return None
    forged = read_forgeries(suite.folder, task.id)
    bench = prepare(task, root, torch.device("cpu"))
    named = {board.name: board.rows for board in boards}
    rows = [row for row in named.get("hardenings", ()) if not row.control or row.name == "none"]
    own = [row.name for row in rows if row.name in methods and not methods[row.name].foreign]
    left_out = tuple(row.name for row in rows if row.name not in own)
    samples = _samples(suite, task.id)
    maps = _Maps(bench, {name: methods[name] for name in own}, forged, suite.cells)
    attacks = [row.name for row in named.get("attacks", ()) if not row.control]
    strips = [strip for attack in attacks for strip in _strips(attack, own, samples, maps)]
    return Gallery(task.id, tuple(strips), left_out)


def _samples(suite: Published, task: str) -> pd.DataFrame:
    """Samples of a task's first seed, each with the place of its case."""
    chosen = (suite.samples["task"] == task) & (suite.samples["seed"] == _SEED)
    here = suite.samples[chosen & suite.samples["mode"].isin(["oblivious", "adaptive"])]
    return here.assign(case=here.groupby("cell_id").cumcount())


@dataclass
class _Maps:
    """Maps of a task's images under hardenings, each drawn once."""

    bench: Workbench
    methods: Mapping[str, Entry]
    forged: Images
    cells: pd.DataFrame

    def __post_init__(self) -> None:
        self._natural: dict[str, dict[str, Tensor]] = {}
        self._judged: dict[tuple[str, str], Tensor] = {}
        self._ids = dict(zip(self.cells["cell_id"], self.cells["forge_id"], strict=True))

    def natural(self, name: str) -> dict[str, Tensor]:
        """``clean`` and ``target`` maps ``[N, H, W]``."""
        if name not in self._natural:
            self._natural[name] = steps.reference(self.bench, self._hardening(name), _SEED, Meter())
        return self._natural[name]

    def image(self, cell: str) -> Tensor | None:
        """Forged images ``[N, C, H, W]`` of a cell, where they are published and fit the cases."""
        levels = self.forged.get(self._ids.get(cell, ""))
        if levels is None or levels.shape != self.bench.cases.inputs.shape:
            return None
        return (torch.from_numpy(levels).double() / LEVELS).to(self.bench.cases.inputs)

    def judged(self, name: str, cell: str, images: Tensor) -> Tensor:
        """Maps ``[N, H, W]`` of a cell's forged images."""
        key = name, self._ids[cell]
        if key not in self._judged:
            made = steps.judge(self.bench, self._hardening(name), {"inputs": images}, _SEED, Meter())
            self._judged[key] = made["maps"]
        return self._judged[key]

    def _hardening(self, name: str) -> Hardening:
        method = self.methods[name].create()
        if not isinstance(method, Hardening):
            raise PotemkinError(f"{name} is no hardening")
        return method


def _strips(attack: str, hardenings: Sequence[str], samples: pd.DataFrame, maps: _Maps) -> Iterator[Strip]:
    """The case that an attack moves most, and that which it moves least, without a defense."""
    here = samples[samples["attack"] == attack]
    plain = here[(here["defense"] == "none") & (here["mode"] == "oblivious")]
    if plain.empty:
        return
    order = plain.sort_values("manipulation", kind="stable", ascending=False)["case"].tolist()
    for which, case in zip(WHICH, (order[0], order[-1]), strict=True):
        rows = [row for name in hardenings for row in _shown(name, here[here["case"] == case], maps)]
        if rows:
            yield Strip(attack, which, tuple(rows))


def _shown(name: str, samples: pd.DataFrame, maps: _Maps) -> Iterator[Shown]:
    """A case under a hardening, by the forgery that moves it most."""
    own = samples[samples["defense"] == name].sort_values("manipulation", ascending=False, kind="stable")
    for row in own.head(1).to_dict("records"):
        cell, case = str(row["cell_id"]), int(row["case"])
        images = maps.image(cell)
        if images is None:
            continue
        natural, clean = maps.natural(name), maps.bench.cases.inputs[case]
        panels = (
            ("clean image", clean),
            ("forged image", images[case]),
            ("target map", natural["target"][case]),
            ("clean map", natural["clean"][case]),
            ("forged map", maps.judged(name, cell, images)[case]),
        )
        told = row.get("told")
        yield Shown(
            *(name, str(row["mode"]), _real(row.get("pcc_target_before")), _real(row.get("pcc_target"))),
            *(_real(row["manipulation"]), None if told is None or told != told else _real(told)),
            tuple((caption, picture(values)) for caption, values in panels),
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
