"""Activation maximization, batched over seeds and units; samples of a batch never interact.

``q <- q + step(grad_q f(T(eta(q))))``: f a unit, eta a parametrization, T a random transformation. Every
sample has its own random numbers, is clipped by its own norm and stepped element by element, so a batch gives
what one seed at a time gives, up to rounding (which long ascents amplify in single precision). All of it is
set by numbers, so that a procedure is data and a defense is another procedure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from benchmark.explainers.halves import widened
from benchmark.explainers.visualization.parametrizations import (
    MagnitudeConstrained,
    Parametrization,
    Pixel,
)
from benchmark.explainers.visualization.transformations import Transformations
from benchmark.explainers.visualization.units import Readout, Unit
from benchmark.network import Network
from benchmark.network.batches import at_once
from benchmark.seeds import seed_of

_ROWS = {"cpu": 16, "cuda": 1024}
"""Images optimized at once: on a CPU as many as stay in its caches (64 take a third more time each)."""


@dataclass(frozen=True)
class Visualizations:
    """What an optimization found, and how; U units, S seeds.

    Args:
        images: final images ``[U, S, C, H, W]``, clamped to [0, 1].
        activations: of the transformed image before every step, ``[U, S, steps]``.
        gradient_norms: of the parameters' gradient before clipping, ``[U, S, steps]``.
        transparency: how strongly each pixel was asked for, ``[U, S, H, W]`` in [0, 1]: the mean absolute
            gradient of the image over all steps, divided by its largest value (MACO's attribution map).
        snapshots: images after the steps that were asked for, ``[U, S, C, H, W]`` each.
    """

    images: Tensor
    activations: Tensor
    gradient_norms: Tensor
    transparency: Tensor
    snapshots: dict[int, Tensor] = field(default_factory=dict)


class Visualizer(ABC):
    """Makes images of what units respond to: a global explainer."""

    name: str
    """As tasks call it."""

    @abstractmethod
    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """Images ``[U, S, C, H, W]`` in [0, 1], one for every unit and seed."""

    @abstractmethod
    def procedures(self) -> tuple[FeatureVisualization, ...]:
        """The optimizations that the images come from, for those who adapt to them."""

    @abstractmethod
    def attainable(self, model: Network, target: Tensor) -> Tensor:
        """What a perfect attack could make the visualizer show for a target ``[C, H, W]`` in [0, 1]."""

    def record(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> dict[str, Tensor]:
        """``images`` as of :meth:`explain`, and whatever else is worth keeping of how they came about."""
        return {"images": self.explain(model, units, seeds)}


@dataclass(frozen=True)
class FeatureVisualization(Visualizer):
    """One optimization.

    Args:
        size: channels, height and width of an image.
        parametrization: what is optimized.
        optimizer: ``sgd`` or ``adam``.
        learning_rate: step size, in the units of the parameters.
        steps: number of steps.
        clip: largest norm of a sample's gradient, or None.
        transformations: random transformations of the image, or None.
        spread: standard deviation of the starting parameters.
        spectrum: magnitudes of natural images, for who wants to constrain them, ``[C, H, W // 2 + 1]``.
        window: height and width of what the network is shown, where it takes less than the image: a random
            crop at every step, which needs transformations. The default is the image.
    """

    size: tuple[int, int, int]
    parametrization: Parametrization = field(default_factory=Pixel)
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 1.0
    steps: int = 200
    clip: float | None = None
    transformations: Transformations | None = None
    spread: float = 0.01
    spectrum: Tensor | None = field(default=None, compare=False, repr=False)
    window: tuple[int, int] | None = None
    name: str = "feature_visualization"

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer must be sgd or adam, not {self.optimizer!r}")
        if self.steps < 1 or self.learning_rate <= 0 or self.spread < 0:
            raise ValueError("steps and learning_rate must be positive, spread must not be negative")
        if self.clip is not None and self.clip <= 0:
            raise ValueError("clip must be positive, or null for none")
        if self.window is not None:
            if self.transformations is None:
                raise ValueError("crops are drawn by transformations: give some with a window")
            if not all(0 < part <= side for part, side in zip(self.window, self.size[1:], strict=True)):
                raise ValueError(f"a window {self.window} is no part of an image of {self.size[1:]}")

    @property
    def seen(self) -> tuple[int, int, int]:
        """Channels, height and width of what the network is shown."""
        return (self.size[0], *(self.window or self.size[1:]))

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """Final images ``[U, S, C, H, W]`` in [0, 1]."""
        return self.optimize(model, units, seeds).images

    def record(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> dict[str, Tensor]:
        """``images``, ``activations`` ``[U, S, steps]``, and for MACO ``transparency`` ``[U, S, H, W]``."""
        if type(self) is not FeatureVisualization:  # what a subclass shows is what its explain() says
            return super().record(model, units, seeds)
        run = self.optimize(model, units, seeds)
        found = {"images": run.images, "activations": run.activations}
        if isinstance(self.parametrization, MagnitudeConstrained):
            found["transparency"] = run.transparency
        return found

    def procedures(self) -> tuple[FeatureVisualization, ...]:
        """The optimizations that the images come from."""
        return (self,)

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        """The target through the parametrization and back."""
        with torch.no_grad():
            parameters = self.parametrization.encode(model, widened(target[None]))
            shown: Tensor = self.parametrization.decode(model, parameters)[0]
            return shown.clamp(0, 1)

    def optimize(
        self,
        model: Network,
        units: Sequence[Unit],
        seeds: Sequence[int],
        snapshots: Sequence[int] = (),
    ) -> Visualizations:
        """Visualizes every unit from every seed.

        Args:
            model: the network.
            units: U units, of any layers.
            seeds: S seeds of starts and transformations; equal seeds start equally at all units.
            snapshots: steps after which the images are kept too.

        Raises:
            TaskError: a unit does not exist.
        """
        if not units or not seeds:
            raise ValueError("give at least one unit and one seed")
        if model.listener is not None:
            model.listener.explain(len(units) * len(seeds))
        rows = [(unit, seed) for unit in units for seed in seeds]
        device = model.mean.device
        together = at_once(self.size, device, _ROWS.get(device.type, _ROWS["cpu"]))
        parts = [
            self._optimize_rows(model, rows[start : start + together], frozenset(snapshots))
            for start in range(0, len(rows), together)
        ]

        def joined(name: str) -> Tensor:
            whole: Tensor = torch.cat([getattr(part, name) for part in parts])
            unfolded: Tensor = whole.unflatten(0, (len(units), -1))
            return unfolded

        kept = {step: torch.cat([part.snapshots[step] for part in parts]) for step in parts[0].snapshots}
        return Visualizations(
            images=joined("images"),
            activations=joined("activations"),
            gradient_norms=joined("gradient_norms"),
            transparency=joined("transparency"),
            snapshots={step: images.unflatten(0, (len(units), -1)) for step, images in kept.items()},
        )

    def start(self, model: Network, seeds: Sequence[int]) -> Tensor:
        """Starting parameters of seeds, ``[S, ...]``."""
        starts = [
            self.parametrization.start(model, self.size, self.spread, _generator("start", seed))
            for seed in seeds
        ]
        return torch.stack(starts).to(widened(model.mean))

    def _optimize_rows(
        self, model: Network, rows: Sequence[tuple[Unit, int]], kept: frozenset[int]
    ) -> Visualizations:
        """One batch, a row for each pair of a unit and a seed; every result is ``[rows, ...]``."""
        units, seeds = [unit for unit, _ in rows], [seed for _, seed in rows]
        parameters = self.start(model, seeds).requires_grad_()
        optimizer = self._optimizer(parameters)
        readout, draws = Readout(model, units), self._draws(seeds)
        activations, norms, snapshots = [], [], {}
        asked = torch.zeros(len(rows), *self.size[1:], device=parameters.device, dtype=parameters.dtype)
        for step in range(self.steps):
            with torch.enable_grad():
                images = self.parametrization.decode(model, parameters)
                value = readout(self._transformed(images, draws, step))
                gradient, by_image = torch.autograd.grad(value.sum(), (parameters, images))
            # A manipulated network can overflow; values that do stay where they are.
            gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
            norm = gradient.flatten(1).norm(dim=1)
            activations.append(value.detach())
            norms.append(norm)
            asked += by_image.nan_to_num(0.0, 0.0, 0.0).abs().sum(1)
            parameters.grad = self._clipped(gradient, norm)
            optimizer.step()
            if step + 1 in kept:
                snapshots[step + 1] = self._shown(model, parameters)
        asked = asked.nan_to_num()
        return Visualizations(
            images=self._shown(model, parameters),
            activations=torch.stack(activations, 1),
            gradient_norms=torch.stack(norms, 1),
            transparency=asked / asked.flatten(1).amax(1).clamp_min(1e-30)[:, None, None],
            snapshots=snapshots,
        )

    def _shown(self, model: Network, parameters: Tensor) -> Tensor:
        with torch.no_grad():
            images = self.parametrization.decode(model, parameters)
            return images.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1)

    def _optimizer(self, parameters: Tensor) -> torch.optim.Optimizer:
        """Element-wise ascent: samples of a batch do not interact."""
        if self.optimizer == "adam":
            return torch.optim.Adam([parameters], lr=self.learning_rate, maximize=True)
        return torch.optim.SGD([parameters], lr=self.learning_rate, maximize=True)

    def _clipped(self, gradient: Tensor, norm: Tensor) -> Tensor:
        if self.clip is None:
            return gradient
        factor = (self.clip / (norm + 1e-6)).clamp(max=1)
        return gradient * factor.view(-1, *[1] * (gradient.ndim - 1))

    def _draws(self, seeds: Sequence[int]) -> tuple[Tensor, Tensor | None] | None:
        """Random numbers of all transformations, ``[rows, steps, ...]``."""
        if self.transformations is None:
            return None
        drawn = [
            self.transformations.draw(self.steps, self.seen, _generator("transformations", seed))
            for seed in seeds
        ]
        noise = [n for _, n in drawn if n is not None]
        return torch.stack([u for u, _ in drawn]), torch.stack(noise) if noise else None

    def _transformed(self, images: Tensor, draws: tuple[Tensor, Tensor | None] | None, step: int) -> Tensor:
        if self.transformations is None or draws is None:
            return images
        uniform, noise = draws
        noise_now = None if noise is None else noise[:, step]
        return self.transformations.apply(images, uniform[:, step], noise_now, self.window)


@dataclass(frozen=True)
class Consensus(Visualizer):
    """Pixelwise median over several procedures: what most of them show survives, what one shows does not.

    Args:
        members: procedures, of one image size.
    """

    members: tuple[FeatureVisualization, ...]
    name: str = "consensus"

    def explain(self, model: Network, units: Sequence[Unit], seeds: Sequence[int]) -> Tensor:
        """Final images ``[U, S, C, H, W]`` in [0, 1]."""
        shown = torch.stack([member.explain(model, units, seeds) for member in self.members])
        return _median(shown)

    def procedures(self) -> tuple[FeatureVisualization, ...]:
        """The optimizations that the images come from."""
        return self.members

    def attainable(self, model: Network, target: Tensor) -> Tensor:
        """The target through the parametrization and back."""
        return _median(torch.stack([member.attainable(model, target) for member in self.members]))


def _median(values: Tensor) -> Tensor:
    """Median over the first dimension; for an even count the mean of the two in the middle."""
    ordered = values.sort(0).values
    middle = len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _generator(role: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of("feature visualization", role, seed))
