"""A hardening judged on several forgeries of each case: which of them is the worst, and for what."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from benchmark.tracks.verdict import Columns

Tensors = dict[str, Tensor]

_BETWEEN = "/"


def stacked(judged: Mapping[str, Tensors]) -> Tensors:
    """What a hardening made of several forgeries, by names in one mapping of tensors."""
    return {
        f"{name}{_BETWEEN}{key}": tensor
        for name, tensors in judged.items()
        for key, tensor in tensors.items()
    }


def unstacked(tensors: Tensors) -> dict[str, Tensors]:
    """The mappings of tensors that :func:`stacked` made one of, by their names."""
    found: dict[str, Tensors] = {}
    for name, tensor in tensors.items():
        made, _, key = name.partition(_BETWEEN)
        found.setdefault(made, {})[key] = tensor
    return found


def worst(found: Mapping[str, Columns]) -> Columns:
    """Samples of a pool of forgeries, each case by the forgery that is worst for the hardening.

    Only what scores are made of: a largest or a least value moves as little as its parts do where forgeries
    are about as good as each other, and any other column of the one that happens to win would jump.

    Args:
        found: samples under each forgery, by the defense that it was made against; at least one.

    Returns:
        ``manipulation`` (the largest) and ``made_against`` (whose forgery that is); where explanations tell
        something ``truth`` and ``told`` (the least) and ``told_against``; ``manipulation_average`` over the
        forgeries; ``forgeries``, their number; ``valid``, whether any is; and ``violated`` where none is.
    """
    names = sorted(found)
    moved = np.array([found[name]["manipulation"] for name in names], float)
    valid = [any(case) for case in zip(*(found[name]["valid"] for name in names), strict=True)]
    first = found[names[0]]
    columns: Columns = {
        "manipulation": moved.max(0).tolist(),
        "made_against": [names[index] for index in moved.argmax(0)],
        "manipulation_average": moved.mean(0).tolist(),
        "forgeries": [len(names)] * moved.shape[1],
        "valid": valid,
        "violated": ["" if ok else text for ok, text in zip(valid, first["violated"], strict=True)],
    }
    for column in ("truth", "told"):
        if column in first:
            values = np.array([found[name][column] for name in names], float)
            columns[column] = values.min(0).tolist()
    if "told" in first:
        columns["told_against"] = [names[index] for index in values.argmin(0)]
    return columns
