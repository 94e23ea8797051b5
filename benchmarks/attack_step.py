"""Times an attack's step, a batch of cases against one case at a time, in one run of one process.

    python benchmarks/attack_step.py                     # sixteen cases, CPU, one thread
    python benchmarks/attack_step.py --device cuda --cases 64

Prints, for every explainer, milliseconds per step and image in both forms and their ratio: the median over
interleaved repetitions, with the smallest and the largest, since a shared machine is noisy.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from benchmark.api import Case, Gate
from benchmark.files.assets import locate_root
from benchmark.tasks.task import load_task
from benchmark.tracks.saliency.workbench import Workbench, prepare

TASKS = (
    "gradient-32",
    "gradient-x-input-32",
    "guided-backprop-32",
    "lrp-32",
    "pattern-attribution-32",
    "integrated-gradients-32",
    "smoothgrad-32",
    "residual-gradient-32",
)


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cases", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5, help="steps per repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    root, device = locate_root(), torch.device(options.device)
    print(f"{options.cases} cases, {device}, torch {torch.__version__}, one thread")
    print("| task | ms per image, batched | ms per image, one at a time | ratio (min-max) |")
    print("|---|---|---|---|")
    for name in TASKS:
        task = load_task(f"saliency/{name}", root).model_copy(update={"cases": options.cases})
        bench = prepare(task, root, device)
        together, alone, ratios = [], [], []
        for _ in range(options.repetitions):
            batched = _per_image(bench, options.cases, options.cases, options.steps)
            single = _per_image(bench, 1, min(options.cases, 4), options.steps)
            together.append(batched)
            alone.append(single)
            ratios.append(single / batched)
        print(
            f"| {name} | {statistics.median(together):.2f} | {statistics.median(alone):.2f} | "
            f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}) |",
            flush=True,
        )


def _per_image(bench: Workbench, size: int, images: int, steps: int) -> float:
    """Milliseconds per step and image, ``size`` images at a time."""
    cases = [_case(bench, slice(start, start + size)) for start in range(0, images, size)]
    _step(cases[0])
    _synchronize(bench.device)
    started = time.perf_counter()
    for case in cases:
        for _ in range(steps):
            _step(case)
    _synchronize(bench.device)
    return (time.perf_counter() - started) * 1000 / steps / images


def _case(bench: Workbench, part: slice) -> Case:
    inputs, labels = bench.cases.inputs[part], bench.cases.labels[part]
    target = torch.rand(inputs[:, 0].shape, device=bench.device)
    return Case(
        bench.model,
        bench.explainer.subsampled(8),
        inputs,
        labels,
        target / target.sum((1, 2), keepdim=True),
        inputs,
        bench.budget,
        bench.natural,
        torch.Generator(),
    )


def _step(case: Case) -> None:
    """One step of a targeted attack: maps, logits, one gradient."""
    inputs = case.inputs.clone().requires_grad_()
    maps, logits = case.explain_with_logits(inputs, Gate(30.0))
    error = (maps - case.target).square().sum()
    torch.autograd.grad(error + logits.softmax(1).square().sum(), inputs)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
