"""Seconds of CPU of a map and of an attack's step: ours, captum's, zennit's, pytorch-grad-cam's, in one run.

ResNet-18 at 224 pixels, batch 8, one thread, random weights, in turn, the median of some rounds. A step of an
attack is a map and its gradient in the images. Libraries that give maps without a graph have none, which is
said; captum's Grad-CAM and input x gradient have one in which their weights and gradients are constants: such
a step is cheaper, and does not follow the map. Ours of the gradient are smoothed as zennit's BetaSmooth is.
pytorch-grad-cam is measured where it is installed (``pip install grad-cam``)::

    python benchmarks/explainer_speed.py --rounds 5
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torchvision
from captum.attr import DeepLift, InputXGradient, LayerGradCam, Saliency
from torch import Tensor, nn
from zennit.attribution import Gradient as ZennitGradient
from zennit.composites import BetaSmooth, EpsilonPlusFlat
from zennit.torchvision import ResNetCanonizer

from benchmark.explainers import Explainer, Query, build_explainer
from benchmark.network import Gate, Network
from benchmark.network.walks import captured

BATCH, SIDE, CLASSES = 8, 224, 1000
Map = Callable[[Tensor], Tensor]


def network() -> nn.Module:
    """ResNet-18 without in-place activations, which hooks cannot bear."""
    torch.manual_seed(0)
    module = torchvision.models.resnet18(weights=None, num_classes=CLASSES).eval().requires_grad_(False)
    for part in module.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    return module


def ours(name: str, way: str, labels: Tensor, smooth: bool, **settings: Any) -> Map:
    """A map of this project's."""
    module = network()
    steps = captured(module, (3, SIDE, SIDE)) if way == "captured" else None
    model = Network(module, [0.5] * 3, [0.25] * 3, steps)
    explainer: Explainer = build_explainer(
        name, settings, model, lambda count: torch.zeros(count, 3, SIDE, SIDE)
    )
    if smooth:
        explainer = explainer.smoothed(Gate(10.0))
    return lambda images: explainer.relevance(model, Query(images, labels))


def zennit_map(composite: Any, labels: Tensor) -> Map:
    """A map of zennit's, with a graph."""
    module, start = network(), nn.functional.one_hot(labels, CLASSES).float()

    def of(images: Tensor) -> Tensor:
        with ZennitGradient(module, composite, create_graph=True) as attributor:
            return attributor(images, start)[1]

    return of


def captum_map(make: Callable[[nn.Module], Any], labels: Tensor) -> Map:
    """A map of captum's."""
    attribution = make(network())
    return lambda images: attribution.attribute(images, target=labels)


def grad_cam_map(labels: Tensor) -> Map:
    """A map of pytorch-grad-cam's."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    module = network()
    cam = GradCAM(model=module, target_layers=[module.layer4])
    targets = [ClassifierOutputTarget(int(label)) for label in labels]
    return lambda images: torch.from_numpy(cam(images, targets))


def compared(labels: Tensor) -> dict[str, dict[str, Map]]:
    """By explainer, everybody's maps."""
    found: dict[str, dict[str, Map]] = {
        "gradient": {
            "captum Saliency": captum_map(lambda module: Saliency(module), labels),
            "zennit BetaSmooth": zennit_map(BetaSmooth(), labels),
        },
        "gradient_x_input": {"captum InputXGradient": captum_map(InputXGradient, labels)},
        "lrp_epsilon_plus_flat": {
            "zennit EpsilonPlusFlat": zennit_map(EpsilonPlusFlat(canonizers=[ResNetCanonizer()]), labels)
        },
        "grad_cam": {"captum LayerGradCam": captum_map(lambda m: LayerGradCam(m, m.layer4), labels)},
        "deep_lift": {"captum DeepLift": captum_map(DeepLift, labels)},
    }
    if importlib.util.find_spec("pytorch_grad_cam"):
        found["grad_cam"]["pytorch-grad-cam"] = grad_cam_map(labels)
    for name, maps in found.items():
        for way in ("traced", "captured"):
            maps[f"ours, {way}"] = ours(name, way, labels, smooth=name.startswith("gradient"))
    return found


def plain(of: Map, images: Tensor) -> None:
    """A map."""
    of(images.clone().requires_grad_()).detach()


def step(of: Map, images: Tensor) -> None:
    """A map, and the gradient of a loss of it."""
    inputs = images.clone().requires_grad_()
    maps = of(inputs)
    torch.autograd.grad(maps.square().sum(), inputs)


def measured(run: Callable[[Map, Tensor], None], of: Map, images: Tensor) -> float | None:
    """Seconds of CPU of a call; None where there is no graph."""
    started = time.process_time()
    try:
        run(of, images)
    except (RuntimeError, AttributeError, AssertionError):
        return None
    return time.process_time() - started


def main(arguments: Iterable[str] | None = None) -> None:
    """Prints a row per explainer, implementation and kind of call."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args(arguments).rounds
    torch.set_num_threads(1)
    labels = torch.arange(BATCH)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=generator)
    for name, maps in compared(labels).items():
        for kind, run in (("map", plain), ("step", step)):
            taken: dict[str, list[float | None]] = {who: [] for who in maps}
            for _ in range(rounds + 1):  # the first warms up
                for who, of in maps.items():
                    taken[who].append(measured(run, of, images))
            for who, seconds in taken.items():
                known = [one for one in seconds[1:] if one is not None]
                told = f"{statistics.median(known):.3f} s" if known else "no graph"
                print(f"{name:22} {kind:5} {who:24} {told}", flush=True)


if __name__ == "__main__":
    main()
