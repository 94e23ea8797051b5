"""Where in the image the values of a walk lie: which side holds channels, which rows, columns or tokens.

A shape does not tell it: ``[N, 16, 16, 16]`` may have its channels anywhere, and ``[N, 64, K]`` may be 8 x 8
parts of an image or 4 x 16. So every operation is followed once with coordinates in place of numbers: what
moves numbers moves coordinates, what mixes a side forgets it, and convolutions and pools lay a new grid over
what they read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from benchmark.network.captured import (
    Call,
    Captured,
    ChannelScale,
    MatMul,
    Product,
    Rearrange,
    Resize,
    Softmax,
    Stored,
    Weight,
)
from benchmark.network.grids import laid_anew, of_image, spread
from benchmark.network.guesses import Guesses
from benchmark.network.images import SAMPLES, Side, blank_weights, image_sides, probes, walks
from benchmark.network.kinks import Extremum, Spelt, chooses_by_size
from benchmark.network.layouts import SAME, Coordinates, Layout, layout_of, ordered, varies
from benchmark.network.normalizations import Normalize
from benchmark.network.operations import (
    Activation,
    Add,
    Affine,
    AveragePool,
    Concatenation,
    MaxPool,
    Normalization,
    Operation,
    Reshape,
    SmoothActivation,
    Walk,
    Wrapped,
)
from benchmark.network.stems import rescales

_NOT_THERE = (RuntimeError, IndexError, ValueError, TypeError)
"""What a call may raise that computes with more than the values it moves; their places are not known then."""
_KEEPS = (Activation, SmoothActivation, Normalization, Normalize, Softmax, ChannelScale, Extremum, Spelt)
_MOVES = (Rearrange, Reshape, Concatenation, AveragePool, MaxPool, Resize)


@dataclass(frozen=True, eq=False)
class Places:
    """What is known of a walk: of each value its layout, of each softmax where what it weighs lies.

    Args:
        layouts: of values; None where one has no positions or they are not known.
        weighed: for the position of a softmax, the layout of the things that it weighs (channels are of no
            meaning in it); None where they are no parts of the image.
        lost: positions of values with rows and columns whose places could not be followed.
        within: positions of what chooses among numbers of one place, by their size: channels, say.
    """

    layouts: list[Layout | None]
    weighed: dict[int, Layout | None]
    lost: frozenset[int]
    within: frozenset[int]


_KNOWN: WeakKeyDictionary[Operation, dict[Any, Places]] = WeakKeyDictionary()


def places(model: Walk, values: Sequence[Tensor]) -> Places:
    """Where the values of a walk lie; followed once for a network and a size of images."""
    known = _KNOWN.setdefault(model.operations[-1], {})
    key = (tuple(values[0].shape[1:]), blank_weights(model.module))
    if key not in known:
        with torch.no_grad():
            known[key] = _followed(model, values)
    return known[key]


def _followed(model: Walk, values: Sequence[Tensor]) -> Places:
    steps, sides = model.operations, _shapes(model, values[0])
    images = image_sides(model, values[0])
    last_reader = {source: at for at, step in enumerate(steps, 1) for source in step.sources}
    held: dict[int, Coordinates | None] = {0: of_image(sides[0])}
    layouts: list[Layout | None] = [None] * len(values)
    layouts[0] = layout_of(held[0])
    softmaxes: dict[int, int] = {}
    weighed: dict[int, Layout | None] = {}
    lost, within = set(), set()
    asked = Guesses(model, values[0])
    for at, step in enumerate(steps, 1):
        sources = [held[source] for source in step.sources]
        shapes = [sides[source] for source in step.sources]
        found = _of_side(_after(step, sources, shapes, sides[at]), images[at])
        if _is_unknown(step, sources):
            found = asked.answer(at, sources[0], found)
        held[at] = found
        if chooses_by_size(step) and found is not None and _as_many(found, sources[0]):
            within.add(at)
        same = next((s for s in step.sources if found is not None and held[s] is found), None)
        layouts[at] = layout_of(found) if same is None else layouts[same]
        if layouts[at] is None and _is_lost(step, found, sides[at]):
            lost.add(at)
        _note_weighed(step, at, sources, shapes, softmaxes, weighed)
        for source in step.sources:
            if last_reader[source] == at:
                held[source] = None
    return Places(layouts, weighed, frozenset(lost), frozenset(within))


def _as_many(found: Coordinates, source: Coordinates | None) -> bool:
    """Whether an output lies at as many rows and columns as its input."""
    if source is None or not bool((found.rows > 0).all() and (found.columns > 0).all()):
        return False
    pairs = ((found.rows, source.rows), (found.columns, source.columns))
    return all(
        len(torch.unique((new / SAME).round())) == len(torch.unique((old / SAME).round()))
        for new, old in pairs
    )


def _is_unknown(step: Operation, sources: Sequence[Coordinates | None]) -> bool:
    """Whether where an operation's numbers come from follows neither from its name nor from its sources."""
    if isinstance(step, Affine):
        if isinstance(step.layer, nn.Conv2d | nn.ConvTranspose2d):
            return sources[0] is None
        return sources[0] is not None and max(getattr(step.layer, "kernel_size", (1,))) > 1
    known = isinstance(step, (*_KEEPS, *_MOVES, Add, Product, MatMul)) or rescales(step)
    return not known and len(sources) == 1 and sources[0] is not None


def _is_lost(step: Operation, found: Coordinates | None, shape: tuple[int, ...]) -> bool:
    """Whether an operation on rows and columns gave a value that lies in the image, but not known how."""
    title = step.title if isinstance(step, Wrapped) else ""
    convolves = isinstance(step, Affine) and isinstance(step.layer, nn.Conv2d)
    on_grids = convolves or isinstance(step, Normalization | ChannelScale | Resize) or "conv" in title
    if len(shape) != 4 or max(shape[2:]) == 1 or not on_grids:
        return False
    return found is None or any(
        varies(values, axis) for values in (found.rows, found.columns) for axis in range(4)
    )


def _of_side(found: Coordinates | None, images: Side | None) -> Coordinates | None:
    """The coordinates, with the side along which images lie."""
    return found if found is None or found.images == images else replace(found, images=images)


def _note_weighed(
    step: Operation,
    at: int,
    sources: Sequence[Coordinates | None],
    shapes: Sequence[tuple[int, ...]],
    softmaxes: dict[int, int],
    weighed: dict[int, Layout | None],
) -> None:
    """Follows a softmax, as it is moved, to the product with what it weighs."""
    if isinstance(step, Softmax):
        softmaxes[at] = at
    elif isinstance(step, Rearrange) and step.sources[0] in softmaxes:
        softmaxes[at] = softmaxes[step.sources[0]]
    elif isinstance(step, MatMul) and len(step.sources) == 2:
        for index, source in enumerate(step.sources):
            if source in softmaxes:
                other = 1 - index
                weighed[softmaxes[source]] = _weighed(step, sources[other], shapes[index], other)


def _shapes(model: Walk, images: Tensor) -> list[tuple[int, ...]]:
    """Of all values, in the batch of coordinates: which of their sides follow from it is not known."""
    batch = probes(images, SAMPLES)
    return [tuple(value.shape) for (value,) in walks(model.operations, [batch])]


def _after(
    step: Operation,
    sources: Sequence[Coordinates | None],
    shapes: Sequence[tuple[int, ...]],
    shape: tuple[int, ...],
) -> Coordinates | None:
    """Coordinates of an operation's output, from those of its inputs and all shapes."""
    known = [source for source in sources if source is not None]
    if isinstance(step, Affine) and isinstance(step.layer, nn.Conv2d | nn.ConvTranspose2d):
        return _convolved(step.layer, sources[0], shape)
    if not known:
        return None
    if isinstance(step, MatMul) and len(sources) == 2:
        return _multiplied(step, sources, shapes)
    if isinstance(step, Extremum) and len(known) == 2 and len({tuple(c.rows.shape) for c in known}) == 1:
        return _between(*known)
    if isinstance(step, Add | Product) or (len(sources) > 1 and not isinstance(step, Concatenation)):
        return _broadest(known, shape) if isinstance(step, Add | Product) else None
    first = known[0]
    if isinstance(step, Affine) and not isinstance(step.layer, nn.Linear):
        along = len(shape) == 3 and tuple(first.rows.shape[2:]) == shape[2:]
        return _mixed(first, shape, 1) if along else None
    if isinstance(step, Affine):
        return _mixed(first, shape, -1)
    if isinstance(step, Wrapped) and (isinstance(step, AveragePool | MaxPool) or _resizes(step)):
        laid = laid_anew(first, shape)
        return _reduced(step, first, shape) if laid is None else laid
    if isinstance(step, Rearrange | Reshape | Concatenation):
        return _moved(step, sources, shapes, shape)
    if tuple(first.rows.shape) == shape or isinstance(step, _KEEPS):
        return first
    return laid_anew(first, shape) or _side_mixed(first, shape)


def _resizes(step: Operation) -> bool:
    return isinstance(step, Rearrange) and "upsample" in step.title


def _convolved(
    layer: nn.Conv2d | nn.ConvTranspose2d, source: Coordinates | None, shape: tuple[int, ...]
) -> Coordinates | None:
    if source is None:  # of what is not known a convolution takes the last two sides for rows and columns
        return of_image(shape)
    laid = laid_anew(source, shape)
    pointwise = tuple(layer.kernel_size) == (1, 1) and tuple(source.rows.shape[2:]) == shape[2:]
    return _mixed(source, shape, 1) if laid is None and pointwise else laid


def _mixed(source: Coordinates, shape: tuple[int, ...], axis: int) -> Coordinates | None:
    """Where one side is mixed: rows or columns of it stay what they are, anything else is forgotten."""
    if source.rows.dim() != len(shape):
        return None
    layout = layout_of(source) if tuple(source.rows.shape) == shape else None
    if layout is not None and layout.axis != layout.images.moved(axis % len(shape)):
        return source
    return source.mapped(lambda values: _mean(values, axis).expand(shape))


def _mean(values: Tensor, axis: int) -> Tensor:
    return values.sum(axis, keepdim=True) / (values > 0).sum(axis, keepdim=True).clamp(min=1)


def _side_mixed(source: Coordinates, shape: tuple[int, ...]) -> Coordinates | None:
    """Where one side has changed its length."""
    if source.rows.dim() != len(shape):
        return None
    changed = [a for a, (old, new) in enumerate(zip(source.rows.shape, shape, strict=True)) if old != new]
    return _mixed(source, shape, changed[0]) if len(changed) == 1 and changed[0] else None


def _broadest(known: Sequence[Coordinates], shape: tuple[int, ...]) -> Coordinates | None:
    """Of branches that come together, the coordinates of the one that is not broadcast."""
    full = [source for source in known if tuple(source.rows.shape) == shape]
    chosen = full[0] if full else max(known, key=lambda source: source.rows.numel())
    if len(full) > 1 and layout_of(chosen) is None:
        chosen = next((source for source in full if layout_of(source) is not None), chosen)
    return chosen if full else _applied(lambda values: values.expand(shape), chosen, shape)


def _moved(
    step: Wrapped,
    sources: Sequence[Coordinates | None],
    shapes: Sequence[tuple[int, ...]],
    shape: tuple[int, ...],
) -> Coordinates | None:
    """Coordinates moved as the numbers are; what comes from no place is nowhere."""
    function = _without_numbers(step.function)
    nowhere = [torch.zeros(sides, dtype=torch.float64) for sides in shapes]
    pairs = [
        Coordinates(zeros, zeros) if source is None else source
        for source, zeros in zip(sources, nowhere, strict=True)
    ]
    try:
        rows, columns = ([getattr(pair, side) for pair in pairs] for side in ("rows", "columns"))
        found = _checked(Coordinates(function(*rows), function(*columns)), shape)
    except _NOT_THERE:
        return None
    return found if found is None else spread(found)


def _applied(
    function: Callable[..., Tensor], source: Coordinates, shape: tuple[int, ...]
) -> Coordinates | None:
    try:
        return _checked(source.mapped(function), shape)
    except _NOT_THERE:
        return None


def _checked(found: Coordinates, shape: tuple[int, ...]) -> Coordinates | None:
    if tuple(found.rows.shape) != shape:
        return None
    return found.mapped(lambda values: torch.where((values >= 1) & (values <= 2), values, 0.0))


def _reduced(step: Wrapped, source: Coordinates, shape: tuple[int, ...]) -> Coordinates | None:
    """Of an average the mean of the coordinates; of a maximum the middle of what it chooses among."""
    function = _without_numbers(step.function)

    def reduced(values: Tensor) -> Tensor:
        if isinstance(step, MaxPool):
            return (function(values) - function(-values)) / 2
        counted = function((values > 0).to(values.dtype))
        return torch.where(counted > 0, function(values) / counted.clamp(min=1e-12), 0.0)

    return _applied(reduced, source, shape)


def _between(first: Coordinates, second: Coordinates) -> Coordinates:
    """The middle of two, where both are somewhere."""

    def middle(one: Tensor, other: Tensor) -> Tensor:
        return torch.where((one > 0) & (other > 0), (one + other) / 2, 0.0)

    return Coordinates(middle(first.rows, second.rows), middle(first.columns, second.columns), first.images)


def _multiplied(
    step: MatMul, sources: Sequence[Coordinates | None], shapes: Sequence[tuple[int, ...]]
) -> Coordinates | None:
    """Of a product of matrices the coordinates of that factor whose contracted side has none."""
    for index, source in enumerate(sources):
        if source is not None:
            means, spread = _contracted(step, source, shapes[1 - index], index)
            if spread < SAME and bool((means.rows > 0).any()):
                return means
    return None


def _contracted(
    step: MatMul, source: Coordinates, other: tuple[int, ...], index: int
) -> tuple[Coordinates, float]:
    """Mean coordinates of a factor along the side that a product adds up, and their deviation there.

    The product itself tells which side that is: the factor's coordinates take its place, ones the other's.
    """
    ones = source.rows.new_ones(other)

    def added(values: Tensor) -> Tensor:
        return step.function(*((values, ones) if index == 0 else (ones, values)))

    count = added(torch.ones_like(source.rows))
    means = source.mapped(lambda values: added(values) / count)
    squares = source.mapped(lambda values: added(values.square()) / count)
    variances = squares.rows - means.rows.square(), squares.columns - means.columns.square()
    return means, max(0.0, *(float(variance.max()) for variance in variances)) ** 0.5


def _weighed(
    step: MatMul, source: Coordinates | None, attention: tuple[int, ...], index: int
) -> Layout | None:
    """The layout of the things that attention weighs; None where they are no parts of the image."""
    if source is None or source.rows.dim() < 3 or _contracted(step, source, attention, index)[1] < SAME:
        return None
    rows = [values.flatten(0, -3) for values in (source.rows, source.columns)]
    alike = not any(varies(values, 0) for values in rows)
    sides = [values[0] for values in rows]
    for axis in (0, 1):
        if not any(varies(side, 1 - axis) for side in sides):
            found = ordered(axis, sides[0].amax(1 - axis), sides[1].amax(1 - axis))
            # Of windows, or an image and its mirror image, none is all of the image that is attended to.
            return found if alike or found is None else replace(found, part=(0.0, 0.0, 0.0, 0.0))
    return None


def _without_numbers(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same call, with zeros for weights and constants: they are nowhere in the image."""
    if not isinstance(function, Captured):
        return function
    return Captured(function.module, _blank(function.template, function.module))


def _blank(template: Any, module: nn.Module) -> Any:
    match template:
        case Weight():
            found: Any = module
            for part in template.name.split("."):
                found = getattr(found, part)
            return Stored(torch.zeros_like(found, device="cpu"))
        case Stored():
            value = template.value
            return Stored(torch.zeros_like(value)) if value.is_floating_point() else template
        case Call():
            arguments = tuple(_blank(part, module) for part in template.arguments)
            keywords = tuple((name, _blank(part, module)) for name, part in template.keywords)
            return Call(template.function, arguments, keywords, template.item)
        case tuple() | list():
            return tuple(_blank(part, module) for part in template)
    return template
