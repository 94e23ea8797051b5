"""What tests of tracks of forged networks share: a project with fewer images, attacks made of functions."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from harness import fewer_images
from torch import Tensor

from benchmark.api import Attack, Forgery

CPU = torch.device("cpu")
Tensors = dict[str, Tensor]


@cache
def root() -> Path:
    """The project with 600 of the attacker's images and 800 for the evaluation."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return fewer_images(folder)


class By(Attack):
    """Forges by a function of the case and its own weights."""

    name = "by"
    paper = "made for a test"
    tracks = ("signature", "fairwashing")

    def __init__(self, forge: Callable[[Any, Tensors], Any]) -> None:
        super().__init__()
        self.by = forge

    def forge(self, case: Any) -> Forgery:
        """Whatever the function returns."""
        weights = {name: value.clone() for name, value in case.model.module.state_dict().items()}
        found: Forgery = self.by(case, weights)
        return found
