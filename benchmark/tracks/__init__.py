"""The tracks: each is a package with the same modules, and the harness knows no more of it than these.

* ``task``: a subclass of :class:`benchmark.tasks.parts.Task`.
* ``workbench``: ``prepare`` makes a task ready, ``task_facts`` says what methods may know of it.
* ``steps``: ``forge``, ``reference`` and ``judge`` run methods and return tensors.
* ``handout``: what an attack is handed, as data, for methods that run elsewhere.
* ``scoring``: ``Scorer`` turns tensors into samples.
* ``pictures``: what a person should look at.
* ``repairs``, on tracks of changed networks: its own ``make_scorer``, of cells of repairs.

They are imported by name, so that a change of one track's code leaves the cells of the others alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor

    from benchmark.api import Attack, Detector, Hardening, Mode, TaskFacts
    from benchmark.methods.meter import Meter

    Tensors = dict[str, Tensor]


class Bench(Protocol):
    """A task made ready."""

    def checksum(self) -> int:
        """Changes when a method has changed a network or the data in place."""

    def bytes(self) -> int:
        """Memory that it takes."""


class WorkbenchModule(Protocol):
    """A track's ``workbench``."""

    def prepare(self, task: Any, root: Path, device: torch.device) -> Bench:
        """Loads and chooses everything."""

    def task_facts(self, task: Any) -> TaskFacts:
        """What methods may know of a task."""


class StepsModule(Protocol):
    """A track's ``steps``."""

    def forge(
        self,
        bench: Any,
        attack: Attack,
        defense: Hardening | Detector | None,
        mode: Mode,
        seed: int,
        meter: Meter,
    ) -> Tensors:
        """The attack's forgery."""

    def admit(self, bench: Any, attack: Attack, tensors: Tensors) -> Tensors:
        """A forgery of all cases that was made elsewhere, checked as any attack's."""

    def reference(self, bench: Any, defense: Hardening | Detector, seed: int, meter: Meter) -> Tensors:
        """What the defense makes of what is natural."""

    def judge(
        self, bench: Any, defense: Hardening | Detector, forgery: Tensors, seed: int, meter: Meter
    ) -> Tensors:
        """What the defense makes of the forgery."""


class HandoutModule(Protocol):
    """A track's ``handout``."""

    def handout(self, bench: Any) -> tuple[Tensors, dict[str, str]]:
        """What an attack is handed, as tensors, and what no tensor can hold, as text."""


class TrackScorer(Protocol):
    """Scores the cells of one task."""

    def weights(self) -> dict[str, str]:
        """For every perceptual metric the SHA-256 of its weights, or why it is missing."""

    def score(self, forgery: Tensors, reference: Tensors, judged: Tensors, seed: int) -> dict[str, list[Any]]:
        """Columns of the cell's samples."""

    def pooled(
        self,
        made: Mapping[str, Tensors],
        reference: Tensors,
        judged: Mapping[str, Tensors],
        seed: int,
    ) -> dict[str, list[Any]]:
        """Columns of the worst of several forgeries, by the defenses that they were made against.

        See :func:`benchmark.tracks.pooling.worst`.
        """


class ScoringModule(Protocol):
    """A track's ``scoring``."""

    def make_scorer(self, bench: Any) -> TrackScorer:
        """A scorer of a task."""


class PicturesModule(Protocol):
    """A track's ``pictures``."""

    def pictures(self, cells: Any, samples: pd.DataFrame, store: Any) -> Iterator[tuple[str, Any]]:
        """Names (paths without ``.png``) and functions that make ``uint8 [H, W, 3]`` pictures."""


def workbench_of(track: str) -> WorkbenchModule:
    """A track's workbench."""
    return cast(WorkbenchModule, import_module(f"benchmark.tracks.{track}.workbench"))


def steps_of(track: str) -> StepsModule:
    """A track's steps."""
    return cast(StepsModule, import_module(f"benchmark.tracks.{track}.steps"))


def handout_of(track: str) -> HandoutModule:
    """A track's handout."""
    return cast(HandoutModule, import_module(f"benchmark.tracks.{track}.handout"))


def scoring_of(track: str) -> ScoringModule:
    """A track's scoring."""
    return cast(ScoringModule, import_module(f"benchmark.tracks.{track}.scoring"))


def repairs_of(track: str) -> ScoringModule:
    """A track's scoring of repairs; no track of images has any."""
    return cast(ScoringModule, import_module(f"benchmark.tracks.{track}.repairs"))


def pictures_of(track: str) -> PicturesModule:
    """A track's pictures."""
    return cast(PicturesModule, import_module(f"benchmark.tracks.{track}.pictures"))
