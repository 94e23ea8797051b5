"""What tracks of manipulated networks share: clean networks, three splits, and checks of forged weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmark.api import Attack, Forgery, Network
from benchmark.errors import TaskError
from benchmark.explainers.visualization import LOGITS, layer_activations
from benchmark.failures import invalid
from benchmark.methods.calls import check_tensor, kind_of
from benchmark.methods.formats import as_stored
from benchmark.network.batches import in_batches
from benchmark.tasks.data import Split, load_data
from benchmark.tasks.parts import NetworkTask, Task
from benchmark.victims.loading import load_victim
from benchmark.victims.networks import network_of

_AUDITED_SHARE = 0.25
"""Share of the evaluation images that auditors look at; networks are measured on the others."""
_MOST_BYTES = 2**28
"""Of a split, as it is held: all that is embedded, and 445 pictures of 224 pixels."""


@dataclass(frozen=True)
class Networks:
    """Clean networks of a task by name, unmetered and frozen, and the size ``(C, H, W)`` of their inputs."""

    models: dict[str, Network]
    size: tuple[int, int, int]
    dtype: torch.dtype


@dataclass(frozen=True)
class Splits:
    """Natural images and labels.

    Args:
        attacker: handed to attacks.
        auditor: handed to detectors.
        evaluation: networks are measured on them; nobody is handed them.
    """

    attacker: Split
    auditor: Split
    evaluation: Split


def load_networks(task: Task, root: Path, device: torch.device) -> Networks:
    """Every network of a task.

    Raises:
        AssetError: weights are missing or not what they should be.
        TaskError: networks of different inputs or classes.
    """
    dtype = torch.float64 if task.precision == "float64" else torch.float32
    models: dict[str, Network] = {}
    kinds: dict[tuple[tuple[int, int, int], int], str] = {}
    for name in task.victims():
        victim = load_victim(name, root)
        model = network_of(victim).to(device, dtype)
        if device.type == "cpu":  # convolutions in this layout take about a third of the time there
            model = model.to(memory_format=torch.channels_last)
        models[name] = model
        kinds[victim.size, victim.classes] = name
    if len(kinds) > 1:
        names, (first, second, *_) = " and ".join(kinds.values()), kinds
        what = "images of different sizes" if first[0] != second[0] else "numbers of classes that differ"
        raise TaskError(f"task {task.id}: {names} have {what}")
    return Networks(models, next(iter(kinds))[0], dtype)


def load_splits(task: NetworkTask, root: Path, device: torch.device, dtype: torch.dtype) -> Splits:
    """The task's natural images, the evaluation split divided between auditors and measurements.

    Of more images than memory has room for the first are read: of a person's pictures those have every class.
    """
    data = load_data(task.data, root)
    most = task.pictures or data.within(_MOST_BYTES)

    def split(name: str) -> Split:
        found = data.split(name, most)
        return Split(found.images.to(device, dtype), found.labels.to(device))

    attacker, natural = split("attacker"), split("evaluation")
    audited = int(len(natural.labels) * _AUDITED_SHARE)
    # Copies: a view would lead whoever is handed it to the whole split.
    auditor, evaluation = (
        Split(natural.images[part].clone(), natural.labels[part].clone())
        for part in (slice(audited), slice(audited, None))
    )
    return Splits(attacker, auditor, evaluation)


def check_weights(forgery: object, clean: Network, attack: Attack) -> dict[str, Tensor]:
    """The forged weights, on no graph, in the precision of the clean ones.

    Raises a failure blamed on the attack for anything inadmissible.
    """
    name = attack.variant
    if not isinstance(forgery, Forgery) or not isinstance(forgery.weights, Mapping):
        found = kind_of(forgery)
        if isinstance(forgery, Forgery):
            given = forgery.inputs is not None and forgery.weights is None
            found = "Forgery(inputs)" if given else f"Forgery(weights={kind_of(forgery.weights)})"
        raise invalid(name, f"forge() must return Forgery(weights=...), not {found}")
    weights, own = forgery.weights, clean.module.state_dict()
    lacking = sorted(own.keys() - weights.keys())
    added = sorted(str(key) for key in weights.keys() - own.keys())
    if lacking or added:
        changes = [f"{key} is missing" for key in lacking] + [f"{key} is new" for key in added]
        raise invalid(name, f"changed the architecture: {'; '.join(changes[:3])}")
    checked: dict[str, Tensor] = {}
    for key, value in own.items():
        what = f"weights {key}"
        tensor = check_tensor(name, what, weights[key], value.shape)
        if tensor.is_floating_point() != value.is_floating_point():
            raise invalid(name, f"{what} have type {tensor.dtype} instead of {value.dtype}")
        checked[key] = check_tensor(name, what, tensor.detach().to(value), value.shape)
    return as_stored(checked, own)


def weights_sha256(model: Network) -> str:
    """SHA-256 of every tensor's name, type and bytes.

    The judge's seeds for a network follow from it, those for clean networks too: a change of the weights in
    their last bit leads to other draws, so that no attack can aim at the noise of its own judging.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def weight_change(forged: Network, clean: Network) -> float:
    """L2 norm of the change of all weights, relative to that of the clean weights."""
    change, norm = 0.0, 0.0
    for key, value in clean.module.state_dict().items():
        if value.is_floating_point():
            change += float((forged.module.state_dict()[key] - value).double().square().sum())
            norm += float(value.double().square().sum())
    return float((change / max(norm, 1e-30)) ** 0.5)


def natural_logits(model: Network, images: Tensor) -> Tensor:
    """Logits ``[N, classes]``."""
    return natural_activations(model, images, LOGITS)


def natural_activations(model: Network, images: Tensor, layer: str) -> Tensor:
    """Activations ``[N, channels]`` of a layer on natural images."""
    with torch.no_grad():
        return torch.cat([layer_activations(model, batch, layer) for batch in in_batches(images)])
