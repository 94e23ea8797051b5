"""Input-agnostic saliency: what moves any input into a class, from the loss surface alone.

After Akhtar and Jalwana 2023 (AAAI, doi 10.1609/aaai.v37i1.25089), of which abstract, introduction and the
captions of figures 1 and 2 name the stages; there is no official code, so the equations are re-derived from
those words and from the same group's attack LUTA (arXiv 1905.11544). There is one map per class; all classes
and all samples go through the network in one batch. Every stage can be switched off.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.explainers.halves import widened
from benchmark.explainers.visualization.units import executed, layer_outputs
from benchmark.network import Network
from benchmark.network.batches import at_once
from benchmark.seeds import seed_of

STAGES = ("integration", "scaling", "bisection", "projection", "refinement")
"""What an iteration does beside taking a gradient, in this order."""

_ROWS = {"cpu": 80, "cuda": 4096}
"""Images that go through the network at once."""
_VALUES = 28 * 28
"""Values of an input that settings of norms are about where a task scales them."""
_LEAST = 1.2
"""Odds of a class with its map, as a multiple of those without: a map of less does nothing."""
_CERTAIN = 0.99
_TINY = 1e-12
_POWER_MOMENTUM = 0.999


class ClassExplainer(ABC):
    """Explains classes of a network without any input: a global explainer."""

    name: str
    """As tasks call it."""

    @abstractmethod
    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        """Signed maps ``[K, C, H, W]``, one per class: positive where more of the input means the class."""

    @abstractmethod
    def procedures(self) -> tuple[InputAgnosticSaliency, ...]:
        """The optimizations that the maps come from, for those who adapt to them."""


@dataclass(frozen=True)
class InputAgnosticSaliency(ClassExplainer):
    """A perturbation per class that moves draws of a broad distribution to the class, and is its map.

    With J the cross entropy of class l, s_i draws around the mean input, p the map::

        g = - mean_i grad_s J(clip(s_i + p), l)                          nudges towards the class's minima
        m = beta m + (1 - beta) g                                        integration
        r = m / ||m||                                                    scaling
        c = whichever of 1 and 1/2 gives the class more probability      bisection
        p = Psi(p + c step r), Psi the projection on an L2 ball          projection
        p = Psi(p (1 + gain a / max(a))) now and then                    refinement

    The gradient is taken at the clipped input, not through the clipping. a is how much p changes the first
    convolution's activations, averaged over channels, at the mean input. The group's earlier attacks, as far
    as known, refine by the last convolution, cut at Otsu's threshold; its activations are so coarse that they
    draw a map away from small features.
    Off: without integration m is g; without scaling r is m; without bisection c is 1, which is the default,
    because the half wins in one step of a hundred and comparing costs half as much again; without projection
    p is free (the samples are clipped to [0, 1] all the same).

    LUTA scales value by value, r = m / sqrt(v) with v the second moment. That makes every pixel count alike
    and hides where the loss surface is steep; ``elementwise`` does so, for comparison.

    On large inputs draws as wide as the default's leave a network no gradient into any class, and in a ball
    of the default's radius no value changes visibly: use narrow draws (``spread`` .2) and :meth:`scaled`.

    With ``nudges`` every draw is moved for itself to a minimum of its own, by as many steps of L2 norm
    ``step``, and g is how far the draws went on average::

        x_i,0 = clip(s_i + p),   x_i,n+1 = clip(x_i,n - step grad J(x_i,n, l) / ||grad J(x_i,n, l)||)
        g = mean_i (x_i,nudges - x_i,0)

    With ``shift`` network and map meet at another place in every iteration: draws and map are moved
    together, cyclically, and what the gradient says is moved back. What a network reads at one place of its
    grid alone averages out, and with it most of what no other network, nor the same picture at another size,
    has in common with the map. Ours, after the jitter of feature visualization (Olah et al. 2017); off unless
    asked for.

    Args:
        size: channels, height and width of an input.
        samples: draws per iteration; all classes share them.
        steps: iterations.
        spread: standard deviation of the draws, in units of the network's input deviation.
        step: L2 norm of one iteration's change, input range [0, 1].
        radius: of the L2 ball.
        nudges: steps of every draw for itself; 0 for the gradient where it lies.
        rivals: so many other classes, the most probable ones of each draw, are what the class is told from;
            0 for all.
        checked: whether a refinement is undone that gives the class less probability on the draws.
        shift: pixels by which map and draws are moved together at most.
        momentum: beta.
        refine_every: iterations between refinements.
        gain: how much a refinement adds where the activations are.
        elementwise: scale value by value, as LUTA does.
        without: names of :data:`STAGES` that are switched off.
    """

    size: tuple[int, int, int]
    samples: int = 16
    steps: int = 40
    spread: float = 1.5
    step: float = 0.3
    radius: float = 3.0
    momentum: float = 0.9
    refine_every: int = 10
    gain: float = 1.0
    elementwise: bool = False
    without: tuple[str, ...] = ("bisection",)
    name: str = "input_agnostic_saliency"
    nudges: int = 0
    rivals: int = 0
    checked: bool = False
    shift: int = 0

    def __post_init__(self) -> None:
        unknown = [stage for stage in self.without if stage not in STAGES]
        if unknown:
            raise ValueError(f"there is no stage {unknown[0]!r}; the stages are {', '.join(STAGES)}")
        if min(self.samples, self.steps, self.refine_every) < 1:
            raise ValueError("samples, steps and refine_every must be positive")
        if min(self.nudges, self.rivals, self.shift) < 0:
            raise ValueError("nudges, rivals and shift must not be negative")
        if not (0 < self.step < math.inf and 0 < self.radius < math.inf):
            raise ValueError("step and radius must be positive and finite")
        if not (0 <= self.spread < math.inf and 0 <= self.gain < math.inf):
            raise ValueError("spread and gain must be finite and not negative")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), not {self.momentum}")

    def procedures(self) -> tuple[InputAgnosticSaliency, ...]:
        """The optimization itself."""
        return (self,)

    def scaled(self) -> InputAgnosticSaliency:
        """The same with ``step`` and ``radius`` as those of an input of 28 x 28 values.

        Both grow with the square root of the number of values, so that a value changes by as much.
        """
        factor = math.sqrt(math.prod(self.size) / _VALUES)
        return replace(self, step=self.step * factor, radius=self.radius * factor)

    def dropping(self, stage: str) -> InputAgnosticSaliency:
        """The same without one more stage."""
        return replace(self, without=(*self.without, stage))

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        """Signed maps ``[K, C, H, W]``, each but for rounding the same whichever others are asked for.

        Raises:
            ValueError: no class is given.
        """
        if not classes:
            raise ValueError("give at least one class")
        if model.listener is not None:
            model.listener.explain(len(classes))
        device = model.mean.device
        rows = at_once(self.size, device, _ROWS.get(device.type, _ROWS["cpu"]))
        together = max(1, rows // self.samples)
        groups = [classes[start : start + together] for start in range(0, len(classes), together)]
        return torch.cat([self._maps(model, group, seed) for group in groups])

    def draws(self, model: Network, generator: torch.Generator) -> Tensor:
        """One iteration's draws ``[S, C, H, W]``, before clipping, in input units."""
        noise = torch.randn(self.samples, *self.size, generator=generator, dtype=torch.float32).to(
            widened(model.mean)
        )
        return model.mean + self.spread * model.deviation * noise

    def gradient(self, model: Network, maps: Tensor, classes: Tensor, draws: Tensor) -> Tensor:
        """Direction ``[K, C, H, W]`` into the classes: minus the mean gradient of the cross entropy.

        Differentiable in the network's weights where gradients are enabled, for those who adapt to it.
        """
        parts = self._at_once(draws, len(maps))
        moved: Tensor = torch.cat([self._moved(model, maps, classes, part) for part in parts], 1).mean(1)
        return moved

    def reached(self, model: Network, maps: Tensor, classes: Sequence[int], seed: int) -> Tensor:
        """Mean probability of each class on fresh draws without and with its map, ``[K, 2]``.

        A map that gives its class no more than the draws have without it says nothing: see :func:`idle`.
        """
        generator = torch.Generator().manual_seed(seed_of("draws to look at", seed))
        labels = torch.tensor(list(classes), device=model.mean.device)
        with torch.no_grad():
            parts = self._at_once(self.draws(model, generator), len(maps))
            shown = maps.to(parts[0])
            found = [
                [len(part) * self._probability(model, by, labels, part) for by in (shown * 0, shown)]
                for part in parts
            ]
        without, moved = (torch.stack(values).sum(0) / self.samples for values in zip(*found, strict=True))
        return torch.stack([without, moved], 1)

    def _at_once(self, draws: Tensor, classes: int) -> tuple[Tensor, ...]:
        """Draws ``[S, C, H, W]`` in parts that go through the network together for so many classes."""
        rows = at_once(self.size, draws.device, _ROWS.get(draws.device.type, _ROWS["cpu"]))
        parts: tuple[Tensor, ...] = draws.split(max(1, rows // classes))
        return parts

    def _moved(self, model: Network, maps: Tensor, classes: Tensor, draws: Tensor) -> Tensor:
        """Where each draw is to go for each class, ``[K, S, C, H, W]``."""
        start = (draws[None] + maps[:, None]).clamp(0, 1).flatten(0, 1)
        labels = classes.repeat_interleave(len(draws))
        if not self.nudges:
            return _by_class(-self._slope(model, start, labels), len(maps))
        inputs = start
        for _ in range(self.nudges):
            slope = self._slope(model, inputs, labels).nan_to_num(0.0, 0.0, 0.0)
            norm = slope.flatten(1).norm(dim=1).clamp_min(_TINY)
            inputs = (inputs - self.step * slope / _per_map(norm)).clamp(0, 1)
        return _by_class(inputs - start, len(maps))

    def _slope(self, model: Network, inputs: Tensor, labels: Tensor) -> Tensor:
        """Gradient of the cross entropy of each image's class, ``[N, C, H, W]``."""
        graph = torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters())
        found: Tensor
        with torch.enable_grad():
            inputs = inputs.detach().requires_grad_()
            loss = functional.cross_entropy(
                self._told_apart(widened(model(inputs)), labels), labels, reduction="sum"
            )
            (found,) = torch.autograd.grad(loss, inputs, create_graph=graph)
        return found

    def _told_apart(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits, of other classes than the strongest rivals and the own one minus infinity."""
        if not 0 < self.rivals < logits.shape[1] - 1:
            return logits
        own = functional.one_hot(labels, logits.shape[1]).bool()
        least = logits.detach().masked_fill(own, -math.inf).topk(self.rivals, 1).values[:, -1:]
        return logits.masked_fill(~own & (logits < least), -math.inf)

    def _maps(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        labels = torch.tensor(list(classes), device=model.mean.device)
        generator = torch.Generator().manual_seed(seed_of("input-agnostic saliency", seed))
        maps = torch.zeros(len(classes), *self.size).to(widened(model.mean))
        integrated, power = torch.zeros_like(maps), torch.zeros_like(maps)
        momentum = 0.0 if "integration" in self.without else self.momentum
        layer = _first_convolution(model, maps[:1]) if "refinement" not in self.without else ""
        with torch.no_grad():
            for iteration in range(1, self.steps + 1):
                draws = self.draws(model, generator)
                # A manipulated network can overflow: what does moves nothing.
                gradient = self._gradient_moved(model, maps, labels, draws, generator)
                gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
                integrated = momentum * integrated + (1 - momentum) * gradient
                power = _POWER_MOMENTUM * power + (1 - _POWER_MOMENTUM) * gradient.square()
                direction = self._direction(integrated, power, iteration)
                maps = self._projected(maps + self._step(model, maps, direction, labels, draws) * direction)
                if layer and iteration % self.refine_every == 0:
                    refined = self._projected(maps * (1 + self.gain * _attended(model, maps, layer)))
                    maps = self._kept(model, maps, refined, labels, draws)
        return maps

    def _gradient_moved(
        self, model: Network, maps: Tensor, labels: Tensor, draws: Tensor, generator: torch.Generator
    ) -> Tensor:
        """The gradient, asked for where draws and maps are moved together, and moved back."""
        if not self.shift:
            return self.gradient(model, maps, labels, draws)
        by: list[int] = torch.randint(-self.shift, self.shift + 1, (2,), generator=generator).tolist()
        moved = self.gradient(model, maps.roll(by, (2, 3)), labels, draws.roll(by, (2, 3)))
        return moved.roll([-step for step in by], (2, 3))

    def _direction(self, integrated: Tensor, power: Tensor, iteration: int) -> Tensor:
        """The integrated gradient, scaled to norm 1."""
        if "scaling" in self.without:
            return integrated
        if self.elementwise:
            integrated = integrated / ((power / (1 - _POWER_MOMENTUM**iteration)).sqrt() + _TINY)
        return integrated / _per_map(integrated.flatten(1).norm(dim=1).clamp_min(_TINY))

    def _step(self, model: Network, maps: Tensor, direction: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Length ``[K, 1, 1, 1]`` of the step: the whole or half of it, whichever the class gains more by."""
        whole = maps.new_full((len(maps),), self.step)
        if "bisection" in self.without:
            return _per_map(whole)
        reached = torch.stack(
            [
                self._probability(model, maps + share * self.step * direction, labels, draws)
                for share in (1, 0.5)
            ]
        )
        return _per_map(torch.where(reached[0] >= reached[1], whole, whole / 2))

    def _kept(self, model: Network, maps: Tensor, refined: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Refined maps, but where it is checked and they give their class less than before."""
        if not self.checked:
            return refined
        before, after = (self._probability(model, by, labels, draws) for by in (maps, refined))
        return torch.where(_per_map(after >= before), refined, maps)

    def _probability(self, model: Network, maps: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Mean probability ``[K]`` of each class over the draws, moved by its projected map."""
        inputs = (draws[None] + self._projected(maps)[:, None]).clamp(0, 1).flatten(0, 1)
        probabilities = widened(model(inputs)).softmax(1).unflatten(0, (len(maps), len(draws)))
        own: Tensor = probabilities.mean(1).gather(1, labels[:, None])[:, 0]
        return own.nan_to_num(0.0)

    def _projected(self, maps: Tensor) -> Tensor:
        if "projection" in self.without:
            return maps
        norm = maps.flatten(1).norm(dim=1).clamp_min(_TINY)
        return maps * _per_map((self.radius / norm).clamp(max=1))


def idle(reached: Tensor) -> Tensor:
    """Whether maps do nothing, ``[K]``: they do not raise the odds of a class by a fifth, nor is it certain.

    Args:
        reached: the class's probability without and with its map, ``[K, 2]``.
    """
    odds = reached.double() / (1 - reached.double()).clamp_min(_TINY)
    return (odds[:, 1] < _LEAST * odds[:, 0]) & (reached[:, 1] < _CERTAIN)


def _by_class(values: Tensor, classes: int) -> Tensor:
    """Values ``[K S, C, H, W]`` of every class's draws as ``[K, S, C, H, W]``."""
    return values.view(classes, -1, *values.shape[1:])


def _per_map(values: Tensor) -> Tensor:
    """One value per map, ready to be multiplied with maps."""
    return values.view(-1, 1, 1, 1)


def _first_convolution(model: Network, images: Tensor) -> str:
    """Name of the first convolution, or nothing for a network without any."""
    order = executed(model, images, (torch.nn.Conv2d,))
    return order[0] if order else ""


def _attended(model: Network, maps: Tensor, layer: str) -> Tensor:
    """How much a map changes the layer's activations, as a share of its largest change, ``[K, 1, H, W]``."""
    start = model.mean.expand_as(maps)
    before, after = (widened(layer_outputs(model, x, layer)) for x in (start, (start + maps).clamp(0, 1)))
    change = (after - before).abs().mean(1, keepdim=True).nan_to_num(0.0, 0.0, 0.0)
    share = change / change.amax((1, 2, 3), keepdim=True).clamp_min(_TINY)
    return functional.interpolate(share, size=maps.shape[-2:], mode="bilinear", align_corners=False)
