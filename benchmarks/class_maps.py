"""Times input-agnostic saliency of all classes, in one batch against one class and one sample at a time.

    python benchmarks/class_maps.py                     # CPU, one thread
    python benchmarks/class_maps.py --device cuda

Prints seconds per network in both forms and their ratio: the median over interleaved repetitions, with the
smallest and the largest, since a shared machine is noisy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.explainers.agnostic import InputAgnosticSaliency
from benchmark.files.assets import locate_root
from benchmark.network import Network
from benchmark.victims.loading import load_victim

VICTIMS = ("fashion-mini-1", "fashion-small", "fashion-base", "fashion-residual")


@dataclass(frozen=True)
class OneAtATime(InputAgnosticSaliency):
    """The same maps, every pass with a single image."""

    def explain(self, model: Network, classes: Sequence[int], seed: int) -> Tensor:
        """Class by class."""
        found = [super(OneAtATime, self).explain(model, [label], seed) for label in classes]
        return torch.cat(found)

    def gradient(self, model: Network, maps: Tensor, classes: Tensor, draws: Tensor) -> Tensor:
        """Sample by sample."""
        one = super().gradient
        return torch.stack([one(model, maps, classes, draw[None]) for draw in draws]).mean(0)

    def _probability(self, model: Network, maps: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        one = super()._probability
        return torch.stack([one(model, maps, labels, draw[None]) for draw in draws]).mean(0)


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--victim", nargs="*", default=VICTIMS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    root, device = locate_root(), torch.device(options.device)
    print(f"{device}, torch {torch.__version__}, {options.threads} thread(s)")
    print(
        "| network | s, all classes in one batch | s, one at a time | ratio (min-max) | largest difference |"
    )
    print("|---|---|---|---|---|")
    for name in options.victim:
        victim = load_victim(name, root)
        model = Network(victim.module, victim.mean, victim.deviation).to(device)
        if device.type == "cpu":
            model = model.to(memory_format=torch.channels_last)
        classes = list(range(victim.classes))
        together, alone, difference = [], [], 0.0
        for _ in range(options.repetitions):
            first, seconds = _timed(InputAgnosticSaliency(victim.size), model, classes)
            together.append(seconds)
            second, seconds = _timed(OneAtATime(victim.size), model, classes)
            alone.append(seconds)
            difference = float((first - second).abs().max() / first.abs().max())
        ratios = [a / b for a, b in zip(alone, together, strict=True)]
        print(
            f"| {name} | {statistics.median(together):.2f} | {statistics.median(alone):.2f} "
            f"| {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}) | {difference:.1e} |",
            flush=True,
        )


def _timed(explainer: InputAgnosticSaliency, model: Network, classes: Sequence[int]) -> tuple[Tensor, float]:
    """Maps of all classes, and the seconds that they took."""
    started = time.perf_counter()
    maps = explainer.explain(model, classes, 0)
    if model.mean.device.type == "cuda":
        torch.cuda.synchronize()
    return maps, time.perf_counter() - started


if __name__ == "__main__":
    main()
