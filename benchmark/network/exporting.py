"""A network as one functional graph of ATen calls, by ``torch.export``."""

from __future__ import annotations

import contextlib
import inspect
import io
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from benchmark.errors import TaskError
from benchmark.network.rewrites import plain_normalize

_LARGEST_BATCH = 4096


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
        with torch.no_grad(), _without_graphs(), plain_normalize(module):
            shapes = _shapes(module)
            program = torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
            return program.run_decompositions({})
    except Exception as error:  # the exporter raises whatever the network's own code and its own does
        reason = " ".join(str(error).split())[:200]
        raise TaskError(
            f"torch.export cannot capture this victim: {type(error).__name__}: {reason}"
        ) from error


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
