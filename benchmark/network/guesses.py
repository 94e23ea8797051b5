"""Guesses where values of a walk lie, held against the numbers of a batch of the walk's own."""

from __future__ import annotations

from torch import Tensor

from benchmark.network.grids import spread
from benchmark.network.images import FIRST, SAMPLES, probes, walks
from benchmark.network.layouts import Coordinates
from benchmark.network.operations import Walk
from benchmark.network.reads import read_from, reads_as_expected, stays

_REFUTED = 8
"""So many guesses that turned out wrong, and no other is made."""


class Guesses:
    """Answers, from numbers, where values lie whose places are guessed.

    Args:
        model: the network.
        like: images, of which size, kind and device count.
    """

    def __init__(self, model: Walk, like: Tensor) -> None:
        self._model, self._like = model, like
        self._held: list[Tensor] = []
        self._refuted = 0

    def answer(self, at: int, source: Coordinates | None, guess: Coordinates | None) -> Coordinates | None:
        """Coordinates of the value at a position, which may be the guess; None where they are not known."""
        step = self._model.operations[at - 1]
        if source is not None:
            inputs = [self._values()[place] for place in step.sources]
            if guess is source and stays(step, inputs, 0, source):
                return source
            if (found := read_from(step, inputs, 0, source)) is not None:
                return spread(found)
        return guess if guess is not None and self._is_so(at, guess) else None

    def _is_so(self, at: int, guess: Coordinates) -> bool:
        if guess.images != FIRST or self._refuted >= _REFUTED:
            return False
        so = reads_as_expected(self._model.operations[:at], self._values()[0], guess)
        self._refuted += not so
        return so

    def _values(self) -> list[Tensor]:
        if not self._held:
            batch = probes(self._like, SAMPLES)
            self._held = [value for (value,) in walks(self._model.operations, [batch])]
        return self._held
