"""Helpers of tests of the scores of track signature: forgeries made by hand."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import fewer_images
from numpy.typing import NDArray
from torch import Tensor

from benchmark.api import Trigger, patch_trigger
from benchmark.tasks.data import load_data
from benchmark.tracks.signature.task import SignatureTask
from benchmark.tracks.signature.workbench import Workbench, prepare
from benchmark.victims.loading import load_victim

CPU = torch.device("cpu")
SIZE = (1, 28, 28)
K, N, P, Q = 10, 3, 4, 3
FIELDS: dict[str, Any] = {
    "id": "signature/mine",
    "version": 1,
    "title": "three backdoors",
    "track": "signature",
    "victim": "fashion-mini-1",
    "data": "fashion-mnist",
    "explainer": {"name": "input_agnostic_saliency", "settings": {"steps": 2, "samples": 2}},
    "cases": [
        {"target_class": 3, "row": 20, "column": 21},
        {"target_class": 0, "row": 2, "column": 5, "pattern": "checkerboard"},
        {"target_class": 7, "row": 11, "column": 0, "pattern": "cross", "victim": "fashion-mini-2"},
    ],
    "budget": {"accuracy_drop": 1, "success": 0.01, "clean_success": 1, "trigger_change": 30},
    "metrics": {"report": ["pcc", "ssim"], "top": 0.05},
    "pools": {
        "calibration": [f"fashion-mini-{number}" for number in (3, 4, 5, 6)],
        "negatives": [f"fashion-mini-{number}" for number in (7, 8, 9)],
        "false_positive_rate": 0.25,
    },
}
Array = NDArray[np.float64]
Tensors = dict[str, Tensor]
Columns = dict[str, list[Any]]


@cache
def root() -> Path:
    """The project with 600 of the attacker's images and 800 for the evaluation."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return fewer_images(folder)


def handmade(**changes: Any) -> Workbench:
    """A task with some fields changed, ready."""
    return prepare(SignatureTask(**{**FIELDS, **changes}), root(), CPU)


def drawn(*shape: int, seed: int) -> Tensor:
    """Normal values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def triggers() -> list[Trigger]:
    """A patch, a blend of two kinds of opacity, and an addition to everything."""
    blend = torch.rand(SIZE, generator=torch.Generator().manual_seed(1))
    return [
        patch_trigger("square", (20, 21), 5, SIZE),
        Trigger(opacity=torch.full(SIZE, 0.4), picture=blend),
        Trigger(addition=0.3 * drawn(*SIZE, seed=2)),
    ]


def state(victim: str) -> Tensors:
    """Weights that were loaded anew."""
    return {name: value.clone() for name, value in load_victim(victim, root()).module.state_dict().items()}


def victim_of(index: int) -> str:
    """Network of a case."""
    return str(FIELDS["cases"][index].get("victim", FIELDS["victim"]))


def target_of(index: int) -> int:
    """Class that a case's backdoor leads to."""
    return int(FIELDS["cases"][index]["target_class"])


def stored(weights: Sequence[Tensors], claimed: Sequence[Trigger | None]) -> Tensors:
    """What a forge step stores."""
    found = {f"{i}/weights/{key}": value for i, own in enumerate(weights) for key, value in own.items()}
    for index, trigger in enumerate(claimed):
        if trigger is not None:
            found |= {f"{index}/trigger/{key}": value for key, value in trigger.tensors().items()}
    return found


def forged_weights() -> list[Tensors]:
    """Every weight moved a little, and the target class preferred."""
    found = []
    for index in range(N):
        own = {
            key: value + 0.01 * drawn(*value.shape, seed=index)
            for key, value in state(victim_of(index)).items()
        }
        own["classifier.2.bias"][target_of(index)] += 3 + index
        found.append(own)
    return found


MAPS = {
    "clean": drawn(N, K, *SIZE, seed=5),
    **{f"{index}/shuffled": drawn(1, *SIZE, seed=11 + index) for index in range(N)},
    **{f"{index}/trained": torch.zeros(0, *SIZE) for index in range(N)},
}
JUDGED = {"maps": drawn(N, K, *SIZE, seed=6), "paired": drawn(N, K, *SIZE, seed=10)}
POOLS = {"calibration_clean": drawn(P, K, seed=7).double(), "negative_clean": drawn(Q, K, seed=8).double()}
SUSPICION = {"suspicion": drawn(N, K, seed=9).double()}


@cache
def natural() -> tuple[Tensor, NDArray[np.int64]]:
    """The images that networks are measured on: the evaluation split but for the auditors' quarter."""
    split = load_data("fashion-mnist", root()).split("evaluation")
    return split.images[200:], split.labels[200:].numpy()


def logits_of(victim: str, weights: Tensors, images: Tensor) -> Array:
    """Of a network that was loaded anew, normalized by hand."""
    loaded = load_victim(victim, root())
    loaded.module.load_state_dict(weights)
    mean, deviation = (torch.tensor(x).view(1, -1, 1, 1) for x in (loaded.mean, loaded.deviation))
    with torch.no_grad():
        return loaded.module((images - mean) / deviation).double().numpy()


# What networks and triggers do.


def stamped(index: int, images: Tensor) -> Tensor:
    """Images with a case's trigger, by the formula of each."""
    trigger = triggers()[index]
    if index == 0:
        found = images.clone()
        found[:, :, 20:25, 21:26] = 1.0
        return found
    if index == 1:
        assert trigger.picture is not None
        return 0.6 * images + 0.4 * trigger.picture
    assert trigger.addition is not None
    return (images + trigger.addition).clamp(0, 1)
