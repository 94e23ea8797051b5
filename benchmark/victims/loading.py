"""A victim is the network that its manifest names: verified weights, float32, frozen, evaluating.

``tasks/victims.yaml`` lists the victims. Weights are read as safetensors, or, where there is only a
PyTorch pickle, by the restricted unpickler that builds tensors and nothing else.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.errors import AssetError, TaskError, in_a_line
from benchmark.files.assets import PENDING, sha256_of
from benchmark.files.fields import shortly
from benchmark.network.states import load_state, without_in_place
from benchmark.victims import published
from benchmark.victims.architectures import build
from benchmark.victims.efficientnet import timm_keys
from benchmark.victims.files import weights_file
from benchmark.victims.manifest import (
    AnyEntry,
    CheckpointEntry,
    PackageEntry,
    TimmEntry,
    TorchvisionEntry,
    victim_entry,
)
from benchmark.victims.pickled import pickled_state
from benchmark.victims.zero_shot import ZeroShot, embeddings_of, head_file

__all__ = ["Victim", "load_victim", "victim_sha256"]


@dataclass(frozen=True)
class Victim:
    """A network under attack.

    Attributes:
        name: its name in ``tasks/victims.yaml``.
        module: maps normalized inputs ``[N, *size]`` to logits ``[N, classes]``; in evaluation
            mode, float32 on the CPU, its weights without gradients, its activations not in place.
        mean: one value per channel, subtracted from images in [0, 1].
        deviation: one value per channel, by which the difference is divided.
        size: channels, height and width of an input.
        classes: number of logits.
        sha256: hash of the weights file, of both files where there is a zero-shot head.
        walk: how it is taken apart, see :mod:`benchmark.network.walks`.
    """

    name: str
    module: nn.Module
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    size: tuple[int, int, int]
    classes: int
    sha256: str
    walk: str = "traced"


def victim_sha256(name: str, root: Path, *, download: bool = True) -> str:
    """The SHA-256 of a victim's weights, without building the network.

    Args:
        name: a name in ``tasks/victims.yaml``.
        root: the project's root folder.
        download: whether a hub's missing file may be fetched; for shipped weights the manifest
            answers.

    Raises:
        TaskError: the victim is unknown or the manifest is broken.
        AssetError: the weights are missing, damaged or pending.
    """
    entry = victim_entry(name, root)
    if isinstance(entry, CheckpointEntry) and entry.sha256 != PENDING:
        return entry.sha256
    return _sha256(entry, weights_file(entry, root, download), root)


def _sha256(entry: AnyEntry, weights: Path, root: Path) -> str:
    """Of the weights file, or of both files where there is a zero-shot head."""
    if not isinstance(entry, TimmEntry) or entry.head is None:
        return sha256_of(weights)
    both = sha256_of(weights) + sha256_of(head_file(entry.head, entry.head_sha256, root))
    return hashlib.sha256(both.encode()).hexdigest()


def load_victim(name: str, root: Path) -> Victim:
    """The victim ``name`` with its weights.

    Raises:
        TaskError: the victim is unknown or its entry is wrong: the network does not take images of its size,
            or tells another number of classes.
        AssetError: the weights are missing, damaged, pending or do not fit the architecture.
    """
    return victim_of(name, victim_entry(name, root), root)


def victim_of(name: str, entry: AnyEntry, root: Path) -> Victim:
    """The same of an entry, of the manifest or not."""
    path = weights_file(entry, root, download=True)
    module = _architecture(name, entry)
    fill(module, _weights(entry, path, module), path)
    if isinstance(entry, TorchvisionEntry):
        published.trim(module)
    if isinstance(entry, TimmEntry) and entry.head is not None:
        head = embeddings_of(head_file(entry.head, entry.head_sha256, root))
        module = ZeroShot(module, head, entry.head_scale)
    module.float().eval().requires_grad_(False)
    without_in_place(module, entry.size)
    _check_fit(name, entry, module)
    return Victim(
        name=name,
        module=module,
        mean=entry.mean,
        deviation=entry.deviation,
        size=entry.size,
        classes=entry.classes,
        sha256=_sha256(entry, path, root),
        walk=entry.walk,
    )


def _architecture(name: str, entry: AnyEntry) -> nn.Module:
    """The network of an entry, with random weights; libraries that take seconds are imported here."""
    try:
        match entry:
            case CheckpointEntry():
                library, _, own = entry.architecture.rpartition("/")
                if library:
                    return published.empty_network(library, own, entry.classes, entry.settings)
                return build(entry.architecture, **entry.settings)
            case TorchvisionEntry():
                module: nn.Module = published.torchvision_network(entry.name, entry.weights)
            case PackageEntry() | TimmEntry():
                import timm

                known = entry.architecture if isinstance(entry, PackageEntry) else entry.name
                module = timm.create_model(known, pretrained=False)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(f"tasks/victims.yaml: entry {name!r}: cannot build it: {error}") from error
    return module


def _check_fit(name: str, entry: AnyEntry, module: nn.Module) -> None:
    """Asks the network once; raises ``TaskError`` where the entry says something else of it."""
    place = f"tasks/victims.yaml: entry {name!r}"
    shown = " x ".join(str(side) for side in entry.size)
    try:
        with torch.no_grad():
            logits = module(torch.zeros(2, *entry.size))
    except Exception as error:  # whatever a layer makes of images that it is not for
        reason = in_a_line(error)
        raise TaskError(
            f"{place}: field size: the network takes no images of {shown} ({reason}); give the size that it "
            "was trained with, or mend settings"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 2:
        found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TaskError(
            f"{place}: is no classifier: of two images of {shown} it says {found}, not two rows of logits"
        )
    if logits.shape[1] != entry.classes:
        raise TaskError(
            f"{place}: field classes: the network tells {logits.shape[1]} classes, not {entry.classes}"
        )
    if not bool(logits.isfinite().all()):
        raise AssetError(
            f"{place}: the network's logits of a black image are not finite: its weights are damaged"
        )


def _weights(entry: AnyEntry, path: Path, module: nn.Module) -> Mapping[str, Tensor]:
    """The tensors of a weights file by the names that ``module`` gives them."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if isinstance(entry, CheckpointEntry):
            return pickled_state(path)
        tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(entry, PackageEntry) and entry.layout == "efficientnet-pytorch":
            depths = [len(stage) for stage in module.blocks]  # type: ignore[union-attr]
            return timm_keys(tensors, depths)
        if isinstance(entry, TorchvisionEntry):
            return published.present_names(module, tensors)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, KeyError, EOFError) as error:
        raise AssetError(f"cannot read the weights {path}: {error}") from error
    return tensors


def _without_beginning(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights without what all of their names begin with, where only that makes them the network's.

    Names begin so where a network was trained by several devices, compiled, or inside another module.
    """
    needed = {key for key in expected if not key.endswith("num_batches_tracked")}
    if not weights or needed <= weights.keys():
        return weights
    first = min(weights)
    for at in (place + 1 for place, letter in enumerate(first) if letter == "."):
        beginning = first[:at]
        if not all(name.startswith(beginning) for name in weights):
            break
        shorter = {name.removeprefix(beginning): value for name, value in weights.items()}
        if needed <= shorter.keys():
            return shorter
    return weights


def fill(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copies ``weights`` (of any float type) into ``module``; every key and shape must match.

    Batch norm's step counters alone may be missing: evaluation ignores them, old files lack them.
    """
    expected = module.state_dict()
    weights = _without_beginning(weights, expected)
    counters = {key: expected[key] for key in expected if key.endswith("num_batches_tracked")}
    weights = {**counters, **weights}
    problems = [f"{key} is missing" for key in sorted(expected.keys() - weights.keys())]
    problems += [f"{key} is not expected" for key in sorted(weights.keys() - expected.keys())]
    problems += [
        f"{key} has shape {list(weights[key].shape)}, not {list(expected[key].shape)}"
        for key in sorted(expected.keys() & weights.keys())
        if weights[key].shape != expected[key].shape
    ]
    problems += [
        f"{key} holds {'complex' if weights[key].is_complex() else 'whole'} numbers ({weights[key].dtype})"
        for key in sorted(expected.keys() & weights.keys())
        if expected[key].is_floating_point() and not weights[key].is_floating_point()
    ]
    problems += [
        f"{key} is no tensor of numbers one after another ({value.layout}, on {value.device})"
        for key, value in sorted(weights.items())
        if value.layout != torch.strided or value.is_meta or value.is_quantized
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        if not expected.keys() & (weights.keys() - counters.keys()):
            some = ", ".join(shortly(name) for name in sorted(weights.keys() - counters.keys())[:2])
            more += f"; the file has {some or 'nothing'}"
        raise AssetError(
            f"{path} does not fit the architecture: {'; '.join(problems[:3])}{more}; "
            "check architecture, classes and settings"
        )
    load_state(module, weights)
