"""Control hardenings of global explanations that explain nothing: none may stand above `none`.

Each shows something else than the unit's visualization, or the class's map, and is hard to fool: what does
not come from the network's weights cannot be forged by changing them.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product

import torch
from torch import Tensor

from benchmark.api import (
    ClassExplainer,
    FeatureVisualization,
    Hardening,
    InputAgnosticSaliency,
    Network,
    Unit,
    Visualizer,
)

Subject = Unit | int
"""What is explained: a unit, or a class."""


@dataclass(frozen=True)
class Asked:
    """What is to be shown of a network.

    Args:
        model: the network.
        subjects: units or classes.
        seeds: of the visualizations, or of the maps.
        shape: of what is to be shown of each subject, ``[S, C, H, W]`` or ``[C, H, W]``.
        signed: whether values below 0 mean something, as in maps of classes.
        shown: what the undefended explainer shows of subjects of a network, ``[len(subjects), *shape]``.
    """

    model: Network
    subjects: Sequence[Subject]
    seeds: Sequence[int]
    shape: tuple[int, ...]
    signed: bool
    shown: Callable[[Network, Sequence[Subject]], Tensor]


class Showing(Hardening):
    """A control that shows what it draws."""

    paper = "control"
    tracks = ("visualization", "signature")
    control = True
    content_free = True

    def harden(self, explainer: FeatureVisualization | InputAgnosticSaliency) -> DrawnPictures | DrawnMaps:
        """Shows the drawing instead."""
        if isinstance(explainer, FeatureVisualization):
            return DrawnPictures(explainer, self)
        return DrawnMaps(explainer, self)

    @abstractmethod
    def draw(self, asked: Asked) -> Tensor:
        """What is shown of the subjects, ``[len(subjects), *shape]``: in [0, 1], or signed."""


@dataclass(frozen=True)
class DrawnPictures(Visualizer):
    """Visualizations that are something else than the explainer's own."""

    inner: FeatureVisualization
    control: Showing
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.control.name)  # frozen: set once, here

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """The drawn pictures ``[U, S, C, H, W]``."""
        shown = partial(_pictures, self.inner, seeds)
        return self.control.draw(Asked(model, units, seeds, (len(seeds), *self.inner.size), False, shown))

    def procedures(self) -> tuple[FeatureVisualization, ...]:
        """The undefended one: no other is run."""
        return (self.inner,)

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        """The target."""
        return target


@dataclass(frozen=True)
class DrawnMaps(ClassExplainer):
    """Maps of classes that are something else than the explainer's own."""

    inner: InputAgnosticSaliency
    control: Showing
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.control.name)  # frozen: set once, here

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        """The drawn maps ``[K, C, H, W]``."""
        shown = partial(_maps, self.inner, seed)
        return self.control.draw(Asked(model, classes, [seed], self.inner.size, True, shown))

    def procedures(self) -> tuple[InputAgnosticSaliency, ...]:
        """The undefended one: no other is run."""
        return (self.inner,)


def _pictures(
    inner: FeatureVisualization, seeds: Sequence[int], model: Network, subjects: Sequence[Subject]
) -> Tensor:
    return inner.explain(model, [unit for unit in subjects if isinstance(unit, Unit)], seeds)


def _maps(inner: InputAgnosticSaliency, seed: int, model: Network, subjects: Sequence[Subject]) -> Tensor:
    return inner.explain(model, [label for label in subjects if isinstance(label, int)], seed)


def noise_of(asked: Asked) -> Tensor:
    """Noise that follows from the hash of the network's weights, the subject and the seed."""
    weights = hashlib.sha256()
    for _, value in sorted(asked.model.module.state_dict().items()):
        weights.update(value.detach().cpu().contiguous().numpy().tobytes())
    found = []
    for subject, seed in product(asked.subjects, asked.seeds):
        digest = hashlib.sha256(f"{weights.hexdigest()} {subject} {seed}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        found.append(torch.rand(asked.shape[-3:], generator=generator, dtype=torch.float32))
    noise = torch.stack(found).view(len(asked.subjects), *asked.shape).to(asked.model.mean)
    return 2 * noise - 1 if asked.signed else noise


def scaled(values: Tensor) -> Tensor:
    """Every subject's values at norm 1."""
    norm = values.flatten(1).norm(dim=1).clamp(min=1e-12)
    normalized: Tensor = values / norm.view(-1, *[1] * (values.ndim - 1))
    return normalized


class SeededNoise(Showing):
    """Noise that follows from the network, the subject and the seeds."""

    name = "seeded_noise"
    bounds = {"usefulness": (-1.0, 0.1)}

    def draw(self, asked: Asked) -> Tensor:
        """Uniform values."""
        return noise_of(asked)


class OnePicture(Showing):
    """One picture, whatever is asked about."""

    name = "one_picture"
    bounds = {"usefulness": (-1.0, 0.001)}

    def draw(self, asked: Asked) -> Tensor:
        """A slope from top to bottom."""
        slope = torch.linspace(0, 1, asked.shape[-2]).to(asked.model.mean)
        return slope[:, None].expand(len(asked.subjects), *asked.shape).clone()


class Neighbour(Showing):
    """What another unit of the layer, or another class, looks like."""

    name = "neighbour"
    bounds = {"usefulness": (-1.0, 0.1)}

    def draw(self, asked: Asked) -> Tensor:
        """Of the subject before, and of the first the second."""
        return asked.shown(asked.model, [_before(subject) for subject in asked.subjects])


def _before(subject: Subject) -> Subject:
    if isinstance(subject, Unit):
        return replace(subject, index=abs(subject.index - 1))
    return abs(subject - 1)


class ReshuffledNetwork(Showing):
    """What the subject looks like in a network with the same weights in another order."""

    name = "reshuffled_network"
    bounds = {"usefulness": (-1.0, 0.1)}

    def draw(self, asked: Asked) -> Tensor:
        """In that network."""
        generator = torch.Generator().manual_seed(0)
        weights = {}
        for name, value in asked.model.module.state_dict().items():
            order = torch.randperm(value.numel(), generator=generator).to(value.device)
            weights[name] = value.flatten()[order].view_as(value)
        return asked.shown(asked.model.with_weights(weights), asked.subjects)


class NoiseShare(Showing):
    """Four tenths of what is undefended, six of noise."""

    name = "noise_share"

    def draw(self, asked: Asked) -> Tensor:
        """The mixture; of maps at one norm."""
        own, noise = asked.shown(asked.model, asked.subjects), noise_of(asked)
        if asked.signed:
            own, noise = scaled(own), scaled(noise)
        return 0.4 * own + 0.6 * noise
