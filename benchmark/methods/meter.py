"""Counts what a method computes, from the outside: a method never reports on itself.

All counts are in samples: a batch of sixteen that goes forward once is sixteen forwards. A forward is a pass
of a sample through the network, inside an explanation or not. A backward is a signal pulled back through it:
by an explanation, or by automatic differentiation through logits or through a map. An explanation is a map of
a sample asked of the explainer that the method was handed.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import psutil
import torch
from torch import Tensor

from benchmark.explainers.base import Explainer, Query
from benchmark.methods.answers import Answers
from benchmark.network import Network, Smoothing


class BudgetExhausted(RuntimeError):
    """A method asked for more explanations per sample than the task allows."""


@dataclass
class Meter:
    """Counters of one method's run.

    Args:
        samples: samples of the batch that the explanation limit is per.
        explanation_limit: explanations per sample that are allowed, or None.
    """

    samples: int = 1
    explanation_limit: int | None = None
    forwards: int = 0
    backwards: int = 0
    explanations: int = 0

    def forward(self, samples: int) -> None:
        """Notes a forward pass."""
        self.forwards += samples

    def backward(self, samples: int) -> None:
        """Notes a backward pass."""
        self.backwards += samples

    def explain(self, samples: int) -> None:
        """Notes an explanation; raises :class:`BudgetExhausted` beyond the limit."""
        self.explanations += samples
        limit = self.explanation_limit
        if limit is not None and self.explanations > limit * self.samples:
            raise BudgetExhausted(f"asked for more than {limit} explanations per sample")

    def add(self, other: Meter) -> None:
        """Notes all that another one has counted."""
        self.forwards += other.forwards
        self.backwards += other.backwards
        self.explanations += other.explanations

    def counts(self) -> dict[str, int]:
        """The three counters by name."""
        return {
            "forwards": self.forwards,
            "backwards": self.backwards,
            "explanations": self.explanations,
        }


@dataclass(frozen=True)
class MeteredExplainer(Explainer):
    """An explainer that notes in a meter what is asked of it, and of whatever is derived from it.

    Args:
        explainer: what is asked.
        meter: what counts.
        answers: what keeps some of the answers about the exact network, or None.
        draws: as of ``subsampled``; 0 before it.
    """

    explainer: Explainer
    meter: Meter = field(compare=False)
    answers: Answers | None = field(default=None, compare=False)
    draws: int = 0
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.explainer.name)  # frozen: set once, here

    def relevance(self, model: Network, query: Query) -> Tensor:
        """The explainer's relevance, noted."""
        return self._noted(self.explainer.relevance(model, query))

    def explain(self, model: Network, query: Query) -> Tensor:
        """The explainer's maps, noted."""
        return self._kept(model, query, self._noted(self.explainer.explain(model, query)))

    def explain_with_logits(self, model: Network, query: Query) -> tuple[Tensor, Tensor]:
        """The explainer's maps, noted, and the logits."""
        maps, logits = self.explainer.explain_with_logits(model, query)
        return self._kept(model, query, self._noted(maps)), logits

    def _kept(self, model: Network, query: Query, maps: Tensor) -> Tensor:
        if self.answers is not None:
            self.answers.note(query, maps, self.draws, model.module)
        return maps

    def _noted(self, maps: Tensor) -> Tensor:
        self.meter.explain(len(maps))
        if maps.requires_grad:
            maps.register_hook(lambda gradient: self.meter.backward(len(gradient)))
        return maps

    def smoothed(self, smoothing: Smoothing) -> Self:
        """Smoothed, with the same meter; no answer about the exact network comes of it."""
        return replace(self, explainer=self.explainer.smoothed(smoothing), answers=None)

    def subsampled(self, samples: int) -> Self:
        """Subsampled, with the same meter."""
        return replace(self, explainer=self.explainer.subsampled(samples), draws=samples)


@dataclass
class Usage:
    """Seconds and peak memory of a ``with`` block.

    ``seconds`` is wall time; ``memory_mb`` the process' peak resident memory within the block (Linux), or its
    resident memory at the end (elsewhere); on a GPU the peak of the memory that torch allocated there.
    """

    device: torch.device
    seconds: float = 0.0
    memory_mb: float = 0.0

    def __enter__(self) -> Self:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            _reset_peak_memory()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.memory_mb = torch.cuda.max_memory_allocated(self.device) / 2**20
        else:
            self.memory_mb = _peak_memory_mb()
        self.seconds = time.perf_counter() - self._started


def _reset_peak_memory() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # not Linux, or not allowed: the peak is then that of the whole process


def _peak_memory_mb() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return float(psutil.Process().memory_info().rss) / 2**20


def usage_record(meter: Meter, usage: Usage) -> dict[str, Any]:
    """What a step's record keeps of its cost."""
    return {**meter.counts(), **{k: v for k, v in asdict(usage).items() if k != "device"}}
