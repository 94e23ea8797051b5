"""A person's network becomes one that explanations walk, or a sentence says what is in the way.

What can be put right is put right in a copy and told: a network in training mode, one in half precision. What
would give a wrong answer is refused: probabilities instead of logits, several outputs, another input.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from benchmark.errors import AssetError, PotemkinError, TaskError, in_a_line
from benchmark.files.images import imagenet_classes
from benchmark.network import Network
from benchmark.network.inputs import colors
from benchmark.network.kinks import told_of_kinks
from benchmark.network.measured_kinks import measured_kinks
from benchmark.network.opaque import closed
from benchmark.network.states import deep_copy, without_in_place
from benchmark.network.walks import any_way, check_weights
from benchmark.victims.loading import fill, victim_of
from benchmark.victims.manifest import TimmEntry, TorchvisionEntry
from benchmark.victims.pickled import pickled_state
from benchmark.victims.published import empty_network

_SUM_OFF = 1e-3
"""Rows of numbers from 0 to 1 whose sum is this close to 1 are probabilities."""


@dataclass(frozen=True)
class Subject:
    """A network to audit.

    Args:
        network: frozen, evaluating, float32, walked by the first way that can.
        classes: number of logits.
        notes: what was changed in the copy, and what cannot be asked of it; a sentence each.
    """

    network: Network
    classes: int
    notes: tuple[str, ...]


def from_library(name: str, weights: Path, classes: int) -> nn.Module:
    """A network of torchvision or timm with a person's weights.

    Args:
        name: ``torchvision/NAME`` or ``timm/NAME``.
        weights: a safetensors or PyTorch file of its state dict.
        classes: number of logits.

    Raises:
        TaskError: no library has such a classifier.
        AssetError: the weights are missing or damaged, or of another network.
    """
    library, _, own = name.partition("/")
    if library not in ("torchvision", "timm") or not own:
        raise TaskError(
            f"weights of one's own are for a network torchvision/NAME or timm/NAME, not {name!r}; a name in "
            "tasks/victims.yaml has its weights there"
        )
    if not weights.is_file():
        raise AssetError(f"there is no file of weights {weights}")
    try:
        module = empty_network(library, own, classes, {})
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:
        raise TaskError(f"cannot build {name} of {classes} classes: {in_a_line(error)}") from error
    try:
        state = load_file(weights) if weights.suffix == ".safetensors" else pickled_state(weights)
    except (SafetensorError, OSError) as error:
        raise AssetError(f"cannot read the weights {weights}: {error}; is the file whole?") from error
    fill(module, state, weights)
    return module.eval()


def from_hub(name: str, root: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """A network of torchvision or timm with the weights that its library publishes, and names of its classes.

    Raises:
        TaskError: no library has such a classifier, or no weights of it.
        AssetError: the weights cannot be fetched.
    """
    library, _, own = name.partition("/")
    about: dict[str, Any] = {"mean": (0.5,) * 3, "deviation": (0.5,) * 3, "size": (3, 224, 224)}
    about |= {"classes": 1000, "licence": "the publisher's", "origin": f"published by {library}"}
    if library == "torchvision":
        import torchvision

        try:
            weights = torchvision.models.get_model_weights(own).DEFAULT
        except (AttributeError, ValueError) as error:
            raise TaskError(f"torchvision has no weights of a classifier {own!r}") from error
        entry = TorchvisionEntry(source="torchvision", name=own, weights=weights.name, **about)
        return victim_of(name, entry, root).module, tuple(weights.meta["categories"])
    if library == "timm":
        entry_ = TimmEntry(source="timm", name=own, **about)
        return victim_of(name, entry_, root).module, imagenet_classes()[1]
    raise TaskError(f"a network is torchvision/NAME or timm/NAME, or a victim's name, not {name!r}")


def prepared(
    module: nn.Module, pictures: Tensor, mean: Sequence[float], deviation: Sequence[float]
) -> Subject:
    """As :func:`_prepared`; whatever else a module's code raises becomes a sentence.

    Raises:
        TaskError: the network is no classifier of such pictures that gives logits.
    """
    try:
        return _prepared(module, pictures, mean, deviation)
    except PotemkinError:
        raise
    except Exception as error:  # a stranger's module raises what it likes
        reason = in_a_line(error)
        raise TaskError(
            f"the network cannot be prepared ({type(error).__name__}: {reason}): an audit takes a module "
            "with weights of floating point, written in Python"
        ) from error


def _unwrapped(module: nn.Module) -> nn.Module:
    """The network itself, of one that is spread over devices or compiled."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _prepared(
    module: nn.Module, pictures: Tensor, mean: Sequence[float], deviation: Sequence[float]
) -> Subject:
    """The network as it is audited; the person's own is left alone.

    Args:
        module: classifier of normalized pictures.
        pictures: in [0, 1], ``[N, C, H, W]``.
        mean: one value per channel, subtracted from pictures.
        deviation: one value per channel, by which the difference is divided.

    Raises:
        TaskError: the network is no classifier of such pictures that gives logits.
    """
    if not isinstance(module, nn.Module):
        raise TaskError(f"a network is a torch.nn.Module, not {type(module).__name__}")
    module = _unwrapped(module)
    if any(".quantized" in type(part).__module__ for part in module.modules()):
        raise TaskError("the network is quantized, and nothing in it has gradients: give the one of before")
    channels = pictures.shape[1]
    mean, deviation = colors(mean, deviation, channels)
    notes = []
    if any(getattr(part, "training", False) for part in module.modules()):
        notes.append("The network was in training mode; it is audited in evaluation mode.")
    kinds = {value.dtype for value in module.parameters() if value.is_floating_point()}
    if kinds - {torch.float32}:
        told = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        notes.append(f"Its weights are {told}; it is audited in float32.")
    size = (channels, pictures.shape[2], pictures.shape[3])
    check_weights(module)
    own = _copied(module).cpu().float().eval()
    for weight in own.parameters():  # one by one: scripted modules have no requires_grad_
        weight.requires_grad_(False)
    without_in_place(own, size)
    normalized = (pictures[:2] - torch.tensor(mean).view(1, -1, 1, 1)) / torch.tensor(deviation).view(
        1, -1, 1, 1
    )
    classes = _classes(own, normalized, bool(kinds - {torch.float32}))
    notes += _remarks(own, normalized)
    steps = any_way(own, size, normalized)
    network = Network(own, mean, deviation, steps)
    if told := closed(steps):
        notes.append(f"N{told[1:]}: gradients and outputs are had of it, and nothing else.")
    if told := told_of_kinks(steps, measured_kinks(network, network.propagate(normalized))):
        notes.append(told)
    return Subject(network, classes, tuple(notes))


def _remarks(module: nn.Module, normalized: Tensor) -> list[str]:
    """What outputs look like that are logits to nobody else."""
    with torch.no_grad():
        rows = module(normalized).double()
    if bool((rows.logsumexp(1).abs() < _SUM_OFF).all()):
        return ["The network gives log-probabilities: they are explained, not logits."]
    sums = rows.sum(1)
    alike = bool((rows >= 0).all()) and bool(((sums - sums[0]).abs() < _SUM_OFF * sums[0]).all())
    if alike and float(sums[0]) > 1 + _SUM_OFF:
        return [
            f"All outputs are at least 0 and sum to {float(sums[0]):.4g}, as probabilities times a factor: "
            "explanations are of logits; take softmax and factor off if that is what they are."
        ]
    if bool(((rows >= 0) & (rows <= 1)).all()):
        return [
            "All of the network's outputs lie between 0 and 1, as behind a sigmoid: explanations are of "
            "logits; take it off if there is one."
        ]
    return []


def _copied(module: nn.Module) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):  # copied otherwise its weights are no leaves
        file = io.BytesIO()
        torch.jit.save(module, file)
        file.seek(0)
        loaded: nn.Module = torch.jit.load(file, map_location="cpu")
        return loaded
    return deep_copy(module)


def _classes(module: nn.Module, normalized: Tensor, halved: bool) -> int:
    """Number of logits, of a network that gives logits for such pictures."""
    shown = " x ".join(str(side) for side in normalized.shape[1:])
    try:
        with torch.no_grad():
            logits = module(normalized)
    except Exception as error:  # whatever a layer makes of pictures that it is not for
        reason = in_a_line(error) or type(error).__name__
        if halved:
            reason += (
                " (an audit makes weights float32: a network that makes its pictures half cannot be asked)"
            )
        raise TaskError(f"the network takes no pictures of {shown}: {reason}") from error
    if not isinstance(logits, Tensor):
        raise TaskError(
            f"the network gives a {type(logits).__name__} and not a tensor of logits: wrap it in a module "
            "that takes the logits out"
        )
    if logits.ndim != 2 or len(logits) != len(normalized) or logits.shape[1] < 2:
        raise TaskError(
            f"the network is no classifier: of {len(normalized)} pictures of {shown} it says "
            f"{list(logits.shape)}, not a row of logits for each"
        )
    if not bool(logits.isfinite().all()):
        raise TaskError("the network's logits are not finite: its weights, mean or deviation are wrong")
    rows = logits.double()
    if bool(((rows >= 0) & (rows <= 1)).all()) and bool(((rows.sum(1) - 1).abs() < _SUM_OFF).all()):
        raise TaskError(
            "the network gives probabilities, and explanations are of logits: take the softmax at its end off"
        )
    return int(logits.shape[1])
