"""What a GPU does with the inner steps of the suite, beside the CPU, in one run of one process.

    python benchmarks/gpu.py                                  # cpu against cuda, batches of 64
    python benchmarks/gpu.py --devices cpu cuda:1 --networks fashion-small cifar-resnet-20 --batch 256
    python benchmarks/gpu.py --devices cpu cpu --batch 4      # tries the script where there is no GPU

Three steps of each network: an attack's (maps, logits, one gradient back to the images) on gradients and LRP,
an ascent's (feature visualization), and class maps. Prints a Markdown table: milliseconds per image and
iteration on each device (the median over interleaved repetitions), their ratio with the smallest and the
largest, the GPU's peak memory, and how far apart results are: the least correlation of a gradient, picture or
map made on one device with the same made on the other. TensorFloat-32 is off, as in judging. Networks whose
weights or package are not at hand are left out with a line that says so.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.errors import PotemkinError
from benchmark.explainers import Query, build_explainer
from benchmark.explainers.agnostic import InputAgnosticSaliency
from benchmark.explainers.base import correlation
from benchmark.explainers.visualization import FeatureVisualization, Unit
from benchmark.files.assets import locate_root
from benchmark.network import Gate, Network
from benchmark.victims.loading import load_victim
from benchmark.victims.networks import network_of

NETWORKS = ("fashion-small", "fashion-residual", "cifar-resnet-20", "imagenet-efficientnet-lite0")
EXPLAINERS = ("gradient", "lrp")

Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Work:
    """One step on one device: what it makes ``[N, ...]`` on the CPU, and images times iterations of it."""

    name: str
    step: Step
    count: int


def attack_step(model: Network, name: str, inputs: Tensor) -> Step:
    """Gradients ``[N, C, H, W]`` of the distance of maps to a target, as an attack on maps has them."""
    explainer = build_explainer(name, {}, model, lambda count: inputs[:count]).smoothed(Gate(30.0))
    labels = torch.zeros(len(inputs), dtype=torch.long, device=inputs.device)

    def step() -> Tensor:
        images = inputs.clone().requires_grad_()
        maps, logits = explainer.explain_with_logits(model, Query(images, labels))
        error = (maps - 1 / maps[0].numel()).square().sum() + logits.softmax(1).square().sum()
        return torch.autograd.grad(error, images)[0].cpu()

    return step


def works(model: Network, inputs: Tensor, steps: int) -> list[Work]:
    """The steps of a network on its device."""
    found = [Work(f"attack, {name}", attack_step(model, name, inputs), len(inputs)) for name in EXPLAINERS]
    size = (inputs.shape[1], inputs.shape[2], inputs.shape[3])
    engine = FeatureVisualization(size, steps=steps)
    seeds = range(len(inputs))
    found.append(
        Work("ascent", lambda: engine.explain(model, [Unit(index=0)], seeds)[0].cpu(), len(inputs) * steps)
    )
    maps = InputAgnosticSaliency(size, samples=4, steps=steps)
    found.append(Work("class maps", lambda: maps.explain(model, [0, 1], 0).cpu(), 2 * 4 * steps))
    return found


def seconds(work: Work, device: torch.device) -> float:
    """Of one step, the device waited for."""
    started = time.perf_counter()
    work.step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def row(pair: tuple[Work, Work], devices: tuple[torch.device, torch.device], repetitions: int) -> str:
    """One line of the table, without the network's name."""
    made = [work.step() for work in pair]  # warm, and compared
    if devices[1].type == "cuda":
        torch.cuda.reset_peak_memory_stats(devices[1])
    turns = list(zip(pair, devices, strict=True))
    times = [[seconds(work, device) for work, device in turns] for _ in range(repetitions)]
    ratios = [first / second for first, second in times]
    first, second = (statistics.median(column) * 1000 / pair[0].count for column in zip(*times, strict=True))
    memory = (
        torch.cuda.max_memory_allocated(devices[1]) / 2**20 if devices[1].type == "cuda" else float("nan")
    )
    alike = float(correlation(*(part.flatten(1) for part in made)).min())
    return (
        f"{pair[0].name} | {first:.3f} | {second:.3f} | {statistics.median(ratios):.1f} "
        f"({min(ratios):.1f}-{max(ratios):.1f}) | {memory:.0f} | {alike:.6f} |"
    )


def available(names: list[str]) -> tuple[torch.device, torch.device]:
    """The two devices; SystemExit with a sentence where one is not there."""
    first, second = (torch.device(name) for name in names)
    for device in (first, second):
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            raise SystemExit(
                f"{device}: this machine has {torch.cuda.device_count()} GPUs that torch can use"
            )
    return first, second


def main() -> int:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", nargs=2, default=["cpu", "cuda"], metavar=("A", "B"))
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=64, help="images of a step, and seeds of an ascent")
    parser.add_argument("--steps", type=int, default=10, help="of an ascent and of class maps")
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args()
    devices = available(given.devices)
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(
        f"batches of {given.batch}, torch {torch.__version__}, one thread, {devices[0]} against {devices[1]}"
    )
    print(
        f"| network | step | ms, {devices[0]} | ms, {devices[1]} | ratio (min-max) | MB | least correlation |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in given.networks:
        try:
            victims = [load_victim(name, locate_root()) for _ in devices]
        except PotemkinError as error:
            print(f"{name} is left out: {' '.join(str(error).split())}", file=sys.stderr)
            continue
        images = torch.rand(given.batch, *victims[0].size, generator=torch.Generator().manual_seed(0))
        both = [
            works(network_of(victim).to(device), images.to(device), given.steps)
            for victim, device in zip(victims, devices, strict=True)
        ]
        for pair in zip(*both, strict=True):
            print(f"| {name} | {row(pair, devices, given.repetitions)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
