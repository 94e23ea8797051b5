"""A network as one functional graph of ATen calls, by ``torch.export``."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.errors import TaskError, in_a_line
from benchmark.network.followed import followed
from benchmark.network.rewrites import plain_normalize

_LARGEST_BATCH = 4096
_LONGEST = 100
"""Of a reason, in characters."""
_NOT_ITS_OWN = (Path(torch.__file__).parent, Path(__file__).parents[1])
"""Where code lies that is no network's."""


def exported(module: nn.Module, size: tuple[int, ...]) -> Any:
    """The program that ``torch.export`` makes of a module, for images of one size and any batch.

    Args:
        module: classifier in evaluation mode, a function of one tensor ``[N, *size]``.
        size: channels, height and width of an input.

    Raises:
        TaskError: it cannot be captured.
    """
    parameter = next(module.parameters(), torch.zeros(()))
    example = torch.zeros(2, *size, dtype=parameter.dtype, device=parameter.device)
    try:
        with torch.no_grad(), _without_graphs(), plain_normalize(module), followed(module):
            shapes = _shapes(module)
            program = torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
            return program.run_decompositions({})
    except Exception as error:  # the exporter raises whatever the network's own code and its own does
        reason = in_a_line(error, 200)
        raise TaskError(
            f"torch.export cannot capture this victim: {type(error).__name__}: {reason}"
        ) from error


def why_not(error: TaskError) -> str:
    """In a clause, what stopped a capture: a line of the network's own code where one did.

    Args:
        error: that the capture ended in.
    """
    cause = error.__cause__
    if cause is None:
        return _cut(str(error))
    if "Constraints violated (batch)" in str(cause):
        return "torch.export cannot follow the number of images in a batch through its code"
    own = [
        frame
        for frame in traceback.extract_tb(cause.__traceback__)
        if not any(Path(frame.filename).is_relative_to(place) for place in _NOT_ITS_OWN) and frame.line
    ]
    if own:
        return (
            f"it stops at line {own[-1].lineno} of {Path(own[-1].filename).name}, {_cut(own[-1].line or '')}"
        )
    return _cut(str(cause))


def _cut(text: str) -> str:
    text = " ".join(text.split()).partition(". ")[0]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _shapes(module: nn.Module) -> tuple[Any, ...]:
    """Which sides of the input may be of any length: the first, be the input named or one of ``*args``."""
    batch = {0: torch.export.Dim("batch", min=1, max=_LARGEST_BATCH)}
    first = next(iter(inspect.signature(module.forward).parameters.values()), None)
    return ((batch,),) if first is not None and first.kind is first.VAR_POSITIONAL else (batch,)


@contextlib.contextmanager
def _without_graphs() -> Iterator[None]:
    """Keeps back the graph that ``torch.export`` prints, over many lines, of what it fails to capture.

    Whatever else is written on standard error comes when the export has ended.
    """
    said, graph = io.StringIO(), ""
    try:
        with contextlib.redirect_stderr(said):
            yield
    except Exception as error:
        graph = str(getattr(error, "partial_fx_graph", ""))
        raise
    finally:
        text = said.getvalue()
        sys.stderr.write(text.replace(graph + "\n", "") if graph else text)
