"""Times feature visualization, a batch of seeds against one seed at a time, in one run of one process.

    python benchmarks/visualization_batch.py                       # 32 seeds x 200 steps, CPU, one thread
    python benchmarks/visualization_batch.py --device cuda --seeds 256

Prints, for several networks and procedures, seconds per seed in both forms and their ratio: the median over
interleaved repetitions, with the smallest and the largest, since a shared machine is noisy.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmark.explainers.visualization import FeatureVisualization, Fourier, Transformations, Unit
from benchmark.files.assets import locate_root
from benchmark.network import Network
from benchmark.victims.loading import load_victim

VICTIMS = ("fashion-small", "fashion-base", "fashion-residual")
ALONE = 2
"""Seeds that are timed one at a time, per repetition."""


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--victim", nargs="*", default=VICTIMS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    root, device = locate_root(), torch.device(options.device)
    print(f"{options.seeds} seeds x {options.steps} steps, {device}, torch {torch.__version__}", end=", ")
    print(f"{options.threads} thread(s)")
    print("| network | procedure | s per seed, batched | s per seed, one at a time | ratio (min-max) |")
    print("|---|---|---|---|---|")
    for name in options.victim:
        victim = load_victim(name, root)
        model = Network(victim.module, victim.mean, victim.deviation).to(device)
        if device.type == "cpu":
            model = model.to(memory_format=torch.channels_last)
        plain = FeatureVisualization(victim.size, steps=options.steps)
        for label, procedure in (
            ("pixel SGD", plain),
            ("pixel SGD, transformations", replace(plain, transformations=Transformations())),
            ("Fourier Adam", replace(plain, parametrization=Fourier(), optimizer="adam", learning_rate=0.05)),
        ):
            together, alone = [], []
            for _ in range(options.repetitions):
                together.append(_per_seed(procedure, model, [range(options.seeds)]))
                alone.append(_per_seed(procedure, model, [[seed] for seed in range(ALONE)]))
            ratios = [a / b for a, b in zip(alone, together, strict=True)]
            print(
                f"| {name} | {label} | {statistics.median(together):.3f} | {statistics.median(alone):.3f} "
                f"| {statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}) |",
                flush=True,
            )


def _per_seed(procedure: FeatureVisualization, model: Network, batches: Sequence[Sequence[int]]) -> float:
    """Seconds per seed of visualizing one unit, batch by batch."""
    started = time.perf_counter()
    for seeds in batches:
        procedure.explain(model, [Unit(index=4)], seeds)
    if model.mean.device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / sum(len(seeds) for seeds in batches)


if __name__ == "__main__":
    main()
