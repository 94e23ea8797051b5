"""How the operations of a network are found: traced, captured, or as one; and if they are its own.

What was found is compared with the module, in logits and in their gradient: a layer that computes something
else than its class says, a hook, a value that is changed through an alias, a gradient that is stopped or made
up are seen nowhere else.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from benchmark.errors import TaskError, in_a_line
from benchmark.names import ByName
from benchmark.network.capture import capture
from benchmark.network.exporting import why_not
from benchmark.network.graph import Network
from benchmark.network.inputs import asked, check_module, colors, side_lengths, weight_like
from benchmark.network.opaque import opaque
from benchmark.network.operations import Operation, Other
from benchmark.network.sizes import check_logits
from benchmark.network.tracing import trace

Size = tuple[int, int, int]
_CLOSE = {torch.double: (1e-6, 1e-5), torch.float: (1e-3, 1e-2)}
"""By how much of their largest value logits, and their gradient, may differ from the module's."""
_STEP = 1e-6
"""Of central differences in double precision."""
_CONTAINERS = (dict, list, set)
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_COUNTS = (1, 3)
"""Images at once: another number than it was captured with, and the one that is often special."""


def traced(module: nn.Module, size: Size) -> list[Operation]:
    """By torch.fx: layers as they are written, batch norms folded.

    Raises:
        TaskError: it cannot be traced, or what was traced computes something else.
    """
    with _in_precision(module, None):
        steps = trace(module)
    return checked(module, steps, size, "torch.fx")


def captured(module: nn.Module, size: Size) -> list[Operation]:
    """By torch.export: calls of ATen.

    Raises:
        TaskError: it cannot be captured, or what was captured computes something else.
    """
    with _in_precision(module, None):
        steps = capture(module, size)
    return checked(module, steps, size, "torch.export")


def as_one(module: nn.Module, size: Size, reason: str = "", images: Tensor | None = None) -> list[Operation]:
    """As a single operation.

    Args:
        module: in evaluation mode.
        size: channels, height and width of an input.
        reason: in a clause, why it is not taken apart.
        images: two normalized ones to ask it about; normal draws where none are given.

    Raises:
        TaskError: the module says something else every time that it is asked.
    """
    steps = opaque(module, size, reason)
    images = (_images(2, size) if images is None else images[:2]).to(weight_like(module))
    try:
        with torch.no_grad():
            first, second, alone = (asked(module, given.clone()) for given in (images, images, images[:1]))
    except Exception as error:  # whatever a layer makes of images that it is not for
        reason = in_a_line(error)
        raise TaskError(f"the network takes no images of {' x '.join(map(str, size))}: {reason}") from error
    check_logits(first, len(images))
    if not bool(first.isfinite().all()):
        raise TaskError(
            "the network's logits of such images are not finite: it is for another range of values"
        )
    if not torch.equal(first, second):
        raise TaskError(
            "the network's logits of the same images differ from one time to the next: it draws at random or "
            "counts its calls; explanations are of networks that do not"
        )
    if first.shape[:1] == (2,) and not _away(alone, first[:1]) <= _CLOSE[torch.float][0]:
        raise TaskError(
            "the network's logits of an image depend on what else is in the batch (its statistics, or a "
            "maximum over it): explanations are of one image"
        )
    return [*steps]


def any_way(module: nn.Module, size: Size, images: Tensor | None = None) -> list[Operation]:
    """By the first of torch.fx, if it knows all operations, torch.export, and as a whole that can.

    Args:
        module: in evaluation mode.
        size: channels, height and width of an input.
        images: two normalized ones that it is for. A network of which nothing is had for normal draws, since
            it takes a root, a logarithm, or refuses what is no picture, is asked about them as a whole.

    Raises:
        TaskError: it is no classifier of such images, or none that explanations are of; the text says why.
    """
    check_weights(module)
    reason = ""
    for way in (traced, captured):
        try:
            steps = way(module, size)
        except TaskError as error:
            reason = why_not(error)
            continue
        if way is captured or not any(isinstance(step, Other) for step in steps):
            return steps
    try:
        return as_one(module, size, reason)
    except TaskError:
        if images is None:
            raise
        return as_one(module, size, reason, images)


def as_network(
    module: nn.Module,
    size: Size,
    mean: Sequence[float] = (0.0,),
    deviation: Sequence[float] = (1.0,),
) -> Network:
    """Any classifier as a network that explainers walk; the weights are the module's own.

    By the first of torch.fx, torch.export and as a whole that can. The module is put into evaluation mode,
    and its maps are those of that mode. Weights that change in place (training, ``load_state_dict``) change
    the maps; after a change of its layers, numbers, code or weights' type make a new network.

    Args:
        module: classifier of *normalized* images ``[N, C, H, W]`` that gives logits ``[N, classes]``.
        size: channels, height and width of an image.
        mean: one value per channel, that images in [0, 1] are shifted by.
        deviation: one value per channel, above 0, that they are divided by then.

    Raises:
        TaskError: it is no classifier of such images, or none that explanations are of, or a number is none
            that it can be; the text says why.
    """
    check_module(module)
    size = side_lengths(size)
    mean, deviation = colors(mean, deviation, size[0])
    pictures = torch.rand(2, *size, generator=torch.Generator().manual_seed(0))
    normalized = (pictures - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(deviation).view(-1, 1, 1)
    network = Network(module, mean, deviation, any_way(module.eval(), size, normalized), size[0])
    like = next(module.parameters(), torch.zeros(()))
    return network.to(like.device)


def check_weights(module: nn.Module) -> None:
    """Refuses weights that have no numbers yet.

    Raises:
        TaskError: there are some; the text names the first.
    """
    named = [*module.named_parameters(), *module.named_buffers()]
    lazy = [name for name, weight in named if is_lazy(weight)]
    if lazy:
        raise TaskError(
            f"weight {lazy[0]} of the network has no size yet: a lazy layer takes it from the first images "
            "that it is shown, so call network(images) once"
        )
    empty = [name for name, weight in named if weight.is_meta]
    if empty:
        raise TaskError(f"weight {empty[0]} of the network has no numbers: it lies on device meta")


WALKS: ByName[Callable[[nn.Module, Size], Sequence[Operation]]] = {
    "any": any_way,
    "traced": traced,
    "captured": captured,
    "opaque": as_one,
}
"""What a victim's entry may ask for."""


def checked(module: nn.Module, steps: list[Operation], size: Size, by: str) -> list[Operation]:
    """The steps, if they compute what the module does.

    In double precision where the module can be asked in it, since in single precision a deep network can
    differ from itself by a thousandth; where it holds numbers of its own that are not double, in its own.

    Args:
        module: in evaluation mode.
        steps: what was found of it.
        size: channels, height and width of an input.
        by: who found them, in words.

    Raises:
        TaskError: logits or their gradient are others.
    """
    problem: Exception | None = None
    device = next(module.parameters(), torch.zeros(())).device
    for kind in (torch.double, torch.float):
        try:
            with _in_precision(module, kind):
                images = _images(max(_COUNTS), size).to(device, kind)
                away = [_distances(module, steps, images[:count]) for count in _COUNTS]
                if away[0][1] > _CLOSE[kind][1] >= away[1][1] and _right_of_one(module, steps, images[:1]):
                    away[0] = (away[0][0], 0.0)
                with torch.no_grad():
                    apart = _away(asked(module, images[:1].clone()), module(images.clone())[:1])
        except Exception as error:  # whatever the network's code makes of another precision
            problem = error
            continue
        if not apart <= _CLOSE[kind][0]:
            raise TaskError(f"{by} found a network whose logits depend on what else is in the batch")
        found = (max(kinds) for kinds in zip(*away, strict=True))
        for what, far, most in zip(("logits", "the logits' gradient"), found, _CLOSE[kind], strict=True):
            if not far <= most:
                raise TaskError(
                    f"{by} found another network than this victim is: {what} differ by a share of {far:.1e}"
                )
        return steps
    reason = in_a_line(problem)
    raise TaskError(f"{by} found operations that cannot be run on this victim: {reason}") from problem


@contextlib.contextmanager
def _in_precision(module: nn.Module, kind: torch.dtype | None) -> Iterator[None]:
    """The module with all of its floating point tensors of one type, and back to what they were, exactly.

    Back comes also what it keeps beside parameters and buffers: a value that it has computed in one type and
    held for the next time (timm's LeViT) would be of that type for whoever uses the network then. With no
    type that alone.
    """
    tensors = [*module.parameters(), *module.buffers()]
    before = [(tensor, tensor.data) for tensor in tensors if tensor.is_floating_point()]
    attributes = [(part, _attributes(part)) for part in module.modules()]
    try:
        for tensor, data in before if kind is not None else ():
            tensor.data = data.to(kind)
        yield
    finally:
        for tensor, data in before:
            tensor.data = data
        for part, held in attributes:
            _put_back(part, held)


def _attributes(part: nn.Module) -> dict[str, tuple[Any, Any]]:
    """A module's own attributes, and of containers what lies in them."""
    own = {name: value for name, value in vars(part).items() if name not in _OF_EVERY_MODULE}
    own["_buffers"] = part._buffers  # tracing leaves what it traces with in a buffer that a pass changes
    return {
        name: (value, copy.copy(value) if type(value) in _CONTAINERS else None) for name, value in own.items()
    }


def _put_back(part: nn.Module, held: dict[str, tuple[Any, Any]]) -> None:
    for name in [name for name in vars(part) if name not in _OF_EVERY_MODULE and name not in held]:
        del vars(part)[name]
    for name, (value, inside) in held.items():
        vars(part)[name] = value
        if inside is None:
            continue
        if isinstance(value, dict | set):
            value.clear()
            value.update(inside)
        elif isinstance(value, list):
            value[:] = inside


def _images(count: int, size: Size) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *size, generator=generator, dtype=torch.double)


def _distances(module: nn.Module, steps: Sequence[Operation], images: Tensor) -> tuple[float, float]:
    """How far logits, and their gradient, are from a module's, as shares of their largest value."""
    given = images.clone().requires_grad_()
    expected = asked(module, given.clone())  # some networks change their inputs in place
    check_logits(expected, len(images))
    values = [images]
    with torch.no_grad():
        for step in steps:
            values.append(step.forward(*(values[source] for source in step.sources)))
    if values[-1].shape != expected.shape:
        return float("inf"), float("inf")
    signal = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    signal = signal.to(expected)
    far = _away(values[-1], expected.detach())
    slope = None
    try:
        if expected.requires_grad:  # else none of it is a function of the images to autograd: it has none
            (slope,) = torch.autograd.grad(expected, given, signal, allow_unused=True)
    except RuntimeError:  # a network that autograd itself refuses has no gradient to compare
        return far, 0.0
    with torch.no_grad():
        found = _pulled_back(steps, values, signal)
    return far, _away(found, torch.zeros_like(images) if slope is None else slope)


def _right_of_one(module: nn.Module, steps: Sequence[Operation], image: Tensor) -> bool:
    """Whether the walk's gradient of one image is the module's rise along a random direction.

    torch's own need not be: 2.15 gives another gradient of timm's LeViT for a batch of one than for the same
    image in a batch of two, and the latter is the central difference.
    """
    generator = torch.Generator().manual_seed(2)
    direction = torch.randn(image.shape, generator=generator, dtype=torch.double).to(image)
    with torch.no_grad():
        values = [image]
        for step in steps:
            values.append(step.forward(*(values[source] for source in step.sources)))
        signal = torch.randn(values[-1].shape, generator=generator, dtype=torch.double).to(image)
        ends = [(asked(module, image + sign * _STEP * direction) * signal).sum() for sign in (1, -1)]
        rise = float(ends[0] - ends[1]) / (2 * _STEP)
        found = float((_pulled_back(steps, values, signal) * direction).sum())
    return abs(found - rise) <= _CLOSE[torch.double][1] * abs(rise)


def _pulled_back(steps: Sequence[Operation], values: Sequence[Tensor], signal: Tensor) -> Tensor:
    """A signal at the logits, back at the inputs."""
    signals: dict[int, Tensor] = {len(steps): signal}
    for index in range(len(steps), 0, -1):
        if index not in signals:
            continue  # of what nothing reads
        step = steps[index - 1]
        inputs = [values[source] for source in step.sources]
        for source, share in zip(step.sources, step.pullback(inputs, signals.pop(index)), strict=True):
            signals[source] = signals[source] + share if source in signals else share
    return signals.get(0, torch.zeros_like(values[0]))


def _away(found: Tensor, expected: Tensor) -> float:
    largest = expected.abs().max().clamp(min=1e-12)
    return float((found - expected).abs().max() / largest)
