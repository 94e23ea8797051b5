"""What a repair is worth: what explanations tell of repaired networks, less what the repair costs.

Nothing of a forgery is left in a network that somebody else has trained, in one whose maps are flat, or in
one that says the same of everything. So it is not what is left of the forgery that repairs are ranked by, but
what their networks' explanations tell *of the clean network* that was handed in, or forged: in a line-up,
beyond what other trained networks tell (:mod:`benchmark.tracks.lineup`, :mod:`benchmark.tracks.driving`).
Another network's explanations tell nothing there, and neither do flat ones and noise. Both halves, of clean
networks handed in and of forged ones, are worth less by the accuracy that the repair costs each.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.tracks.verdict import Columns

ALL = 0.1
"""Accuracy that is worth all that explanations tell: a network that is wrong on as many more images is
another, worse one, and its explanations are not what was asked for."""


def worth(cost: float) -> float:
    """What is left, within [0, 1], of what explanations tell after a repair that costs some accuracy.

    A straight line from no cost to `ALL`. What a repair gains in accuracy is no merit of it: more training
    would win.
    """
    return min(1.0, max(0.0, 1 - cost / ALL))


def verdict(
    usefulness: Sequence[float],
    truth: Sequence[float],
    valid: Sequence[bool],
    costs: tuple[Sequence[float], Sequence[float]],
) -> Columns:
    """How good a repair is, case by case.

    Args:
        usefulness: what explanations tell of the network that was handed in clean.
        truth: what they tell of the one that was handed in forged.
        valid: whether the forgery is within the budget; one that is not has taken nothing away.
        costs: accuracy that the repair costs the clean network, and the forged one, handed in.

    Returns:
        ``usefulness``, ``truth``, ``repair_cost_clean``, ``repair_cost`` and ``told``: the mean of both
        tales, each from 0 up and times its worth.
    """
    kept = [after if ok else before for before, after, ok in zip(usefulness, truth, valid, strict=True)]
    clean, forged = costs
    spent = [dear if ok else cheap for cheap, dear, ok in zip(clean, forged, valid, strict=True)]
    rows = zip(usefulness, kept, clean, spent, strict=True)
    told = [
        (max(0.0, first) * worth(cheap) + max(0.0, second) * worth(dear)) / 2
        for first, second, cheap, dear in rows
    ]
    return {
        "usefulness": list(usefulness),
        "truth": kept,
        "repair_cost_clean": list(clean),
        "repair_cost": list(forged),
        "told": told,
    }
