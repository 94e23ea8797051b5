"""Which classifiers of torchvision and timm can be explained and attacked, and how: a row per network.

Weights are random, statistics of batch norms of random images, everything in double precision, or in single
where a network makes constants of single precision whatever it is in. At the smallest size that a network
takes, or at a larger one where random weights are such that logits of 1e4 leave no digits to tell a
derivative by. Of each network it is tried

* how it is walked (traced, captured or as one operation), and whether the logits are the module's;
* whether the gradient map is autograd's, and whether the derivative of the map under a softplus, which is
  what an attack follows, is the central difference along a random direction;
* whether guided backprop, class activation maps and the LRP presets answer, or what they refuse.

::

    python benchmarks/networks.py --out table.csv            # all, resuming: over two hours
    python benchmarks/networks.py torchvision/resnet18 timm/vit_tiny_patch16_224
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmark.errors import PotemkinError
from benchmark.explainers import Query, build_explainer
from benchmark.network import Network, Softplus
from benchmark.network.walks import any_way

TIMM = (
    *(
        "resnet18",
        "resnet50",
        "resnet50d",
        "resnetv2_50",
        "resnetv2_50x1_bit",
        "resnext50_32x4d",
        "resnetrs50",
    ),
    *(
        "seresnet50",
        "ecaresnet50d",
        "resnest50d",
        "res2net50_26w_4s",
        "cspresnet50",
        "darknet53",
        "legacy_senet154",
    ),
    *("wide_resnet50_2", "regnety_008", "regnetx_008", "repvgg_a0", "dm_nfnet_f0", "efficientnet_b0"),
    *("efficientnet_lite0", "tf_efficientnetv2_s", "mobilenetv2_100", "mobilenetv3_large_100"),
    *("mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "ghostnet_100", "lcnet_050", "mnasnet_100"),
    *("hardcorenas_a", "densenet121", "vgg16_bn", "vgg19", "inception_v3", "xception41", "convnext_tiny"),
    *("convnextv2_atto", "vit_tiny_patch16_224", "vit_base_patch16_224", "vit_base_patch16_clip_224"),
    *("vit_small_patch14_dinov2", "vit_base_patch16_siglip_224", "deit_small_patch16_224"),
    *(
        "deit3_small_patch16_224",
        "beit_base_patch16_224",
        "beitv2_base_patch16_224",
        "eva02_tiny_patch14_224",
    ),
    *("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "maxvit_tiny_tf_224", "coatnet_0_rw_224"),
    *(
        "cait_xxs24_224",
        "xcit_nano_12_p16_224",
        "levit_128s",
        "efficientformer_l1",
        "edgenext_small",
        "fastvit_t8",
    ),
    *("repvit_m1", "mobilevit_s", "tiny_vit_5m_224", "pvt_v2_b0", "poolformer_s12", "mixer_s16_224"),
    *("resmlp_12_224", "gmlp_s16_224"),
)
"""Sixty-five names that are much used, of every family."""
PRESETS = ("lrp_epsilon", "lrp_gamma", "lrp_epsilon_plus_flat", "lrp_alpha2_beta1", "attn_lrp")
OTHERS = ("guided_backprop", "grad_cam")
SIZES = (32, 64, 96, 128, 224, 256, 299)
"""Sides of images that are tried, smallest first."""
MEAN, DEVIATION = 0.5, 0.25
STEPS, SINGLE_STEPS = (1e-5, 1e-7, 1e-9), (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
"""Of central differences: kinks that remain (maxima, signs) ask for small ones, rounding for large ones."""
_CLOSE = 1e-3
"""Relative error below which a derivative counts as right."""
FIELDS = (
    *("network", "parameters", "size", "precision", "walk", "operations", "logits", "gradient"),
    *("second", "attackable"),
    *(*OTHERS, *PRESETS, "any_lrp", "seconds", "commit"),
)


def names() -> list[str]:
    """Every network of the table."""
    own = torchvision.models.list_models(module=torchvision.models)
    classifiers = [name for name in own if not name.startswith("quantized")]
    return [*(f"torchvision/{name}" for name in classifiers), *(f"timm/{name}" for name in TIMM)]


def made(name: str, least: int = 0) -> tuple[nn.Module, int]:
    """A network with random weights, and the smallest side of an image, above ``least``, that it takes."""
    library, _, own = name.partition("/")
    failures = []
    for side in (size for size in SIZES if size > least):
        torch.manual_seed(0)
        try:
            module = _built(library, own, side).eval()
            with torch.no_grad():
                logits = module(torch.rand(2, 3, side, side))
            if logits.isfinite().all():
                return module, side
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            failures.append(f"{side}: {error}")
    raise RuntimeError("; ".join(failures)[-300:])


def _built(library: str, own: str, side: int) -> nn.Module:
    if library == "torchvision":
        given: dict[str, Any] = {"image_size": side} if own.startswith("vit_") else {}
        if own in ("googlenet", "inception_v3"):
            given |= {"aux_logits": False, "init_weights": False}
        return torchvision.models.get_model(own, weights=None, num_classes=10, **given)
    if side < 224:
        try:
            return timm.create_model(own, pretrained=False, num_classes=10, img_size=side)
        except TypeError:  # takes any
            pass
    return timm.create_model(own, pretrained=False, num_classes=10)


def calibrated(module: nn.Module, side: int) -> nn.Module:
    """The network with statistics of its batch norms from images such as it is asked about.

    Signals neither vanish nor explode then. Of eight images of another distribution, statistics of layers of
    few positions were such that logits of some networks came to 1e4, and their map's derivative to 1e18: no
    difference of two maps resolves that. The smaller the images the more of them are needed.
    """
    count = max(16, round(128 * (32 / side) ** 2))
    module.eval()
    generator = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.train()
            part.momentum = None
            part.reset_running_stats()
    with torch.no_grad():
        for _ in range(2):
            module((torch.rand(count, 3, side, side, generator=generator) - MEAN) / DEVIATION)
        for weight in module.parameters():  # some libraries start gates and scales at zero
            if not bool(weight.any()):
                weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    return module.eval().requires_grad_(False)


def measured(name: str) -> dict[str, Any]:
    """A row of the table, at the first of up to three sizes whose derivatives can be told."""
    try:
        row, least = _row(name, 0), 0
    except (RuntimeError, PotemkinError) as error:
        if "double" not in str(error).lower():
            raise
        return _row(name, 0, torch.float32)  # it makes constants of single precision whatever it is in
    for _ in range(2):
        if row["attackable"] or not isinstance(row["second"], float) or row["size"] >= SIZES[-1]:
            break
        least = row["size"]
        try:
            row = _row(name, least) | {"seconds": row["seconds"]}
        except RuntimeError:  # takes no larger images
            break
    return row


def _row(name: str, least: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """A row of the table, at the smallest size above ``least``."""
    started = time.process_time()
    module, side = made(name, least)
    module = calibrated(module, side)
    parameters = sum(weight.numel() for weight in module.parameters())
    steps = any_way(module, (3, side, side))
    network = Network(module, [MEAN] * 3, [DEVIATION] * 3, steps).to(dtype=dtype)
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(2, 3, side, side, generator=generator, dtype=torch.float64).to(dtype)
    query = Query(images, torch.tensor([1, 7]))
    row: dict[str, Any] = {"network": name, "parameters": parameters, "size": side, "operations": len(steps)}
    row["precision"] = "double" if dtype == torch.float64 else "single"
    row["walk"] = _walk(steps)
    row["logits"] = _logits(network, query)
    row["gradient"] = _gradient(network, query)
    row["second"] = _second(network, query)
    row["attackable"] = isinstance(row["second"], float) and row["second"] < _CLOSE
    for explainer in (*OTHERS, *PRESETS):
        row[explainer] = _answer(explainer, network, query)
    row["any_lrp"] = any(row[preset] == "ok" for preset in PRESETS)
    row["seconds"] = round(time.process_time() - started, 1)
    return row


def _walk(steps: list[Any]) -> str:
    kinds = {type(step).__module__.rpartition(".")[2] for step in steps}
    if "opaque" in kinds:
        return "opaque"
    return "captured" if "captured" in kinds else "traced"


def _logits(network: Network, query: Query) -> float:
    normalized = network.normalize(query.inputs)
    with torch.no_grad():
        return _away(network.propagate(normalized)[-1], network.module(normalized))


def _gradient(network: Network, query: Query) -> float:
    normalized = network.normalize(query.inputs).requires_grad_()
    logits = network.module(normalized)
    chosen = logits.gather(1, query.labels[:, None]).sum()
    (expected,) = torch.autograd.grad(chosen, normalized)
    explainer = build_explainer("gradient", {}, network, lambda count: query.inputs[:count])
    return _away(explainer.relevance(network, query), expected)


def _second(network: Network, query: Query) -> float | str:
    """Relative error of the derivative of the map, the best of some steps; a text where there is none."""
    explainer = build_explainer("gradient", {}, network, lambda count: query.inputs[:count])
    smooth = explainer.smoothed(Softplus(10.0))
    generator = torch.Generator().manual_seed(3)
    sides = query.inputs.shape
    weights, direction = (
        torch.randn(sides, generator=generator, dtype=torch.float64).to(query.inputs) for _ in range(2)
    )

    def of(inputs: Tensor) -> Tensor:
        relevance = smooth.relevance(network, replace(query, inputs=inputs))
        return (relevance * weights).sum()

    try:
        inputs = query.inputs.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(of(inputs), inputs)
    except (RuntimeError, PotemkinError) as error:
        return " ".join(str(error).split())[:80]
    found = float((gradient * direction).sum())
    if not bool(gradient.any()):
        return "zero"
    errors = []
    for step in STEPS if query.inputs.dtype == torch.float64 else SINGLE_STEPS:
        with torch.no_grad():
            ends = of(query.inputs + step * direction), of(query.inputs - step * direction)
        rise = float((ends[0] - ends[1]) / (2 * step))
        errors.append(abs(found - rise) / max(abs(found), abs(rise)))
    return min(errors)


def _answer(name: str, network: Network, query: Query) -> str:
    """``ok``, or what was said."""
    try:
        explainer = build_explainer(name, {}, network, lambda count: query.inputs[:count])
        relevance = explainer.relevance(network, query)
    except PotemkinError as error:
        return " ".join(str(error).split())[:90]
    if not bool(relevance.isfinite().all()):
        return "not finite"
    return "ok" if bool(relevance.any()) else "zero"


def _away(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def _commit() -> str:
    """Of this project, as short as git has it; empty outside of a clone."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()


def _known(out: Path) -> set[str]:
    if not out.exists():
        return set()
    with out.open(encoding="utf-8", newline="") as file:
        return {row["network"] for row in csv.DictReader(file)}


def main(arguments: Iterable[str] | None = None) -> int:
    """Runs what is not in the table yet; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("networks", nargs="*", default=names(), help="library/name (default: all)")
    parser.add_argument("--out", type=Path, help="table to add rows to (default: printed)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    known = _known(given.out) if given.out else set()
    for name in given.networks:
        if name in known:
            continue
        try:
            row = measured(name)
        except Exception as error:  # the table says so, and goes on
            row = {"network": name, "walk": f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"}
        row["commit"] = _commit()
        fresh = given.out is not None and not given.out.exists()
        file = given.out.open("a", encoding="utf-8", newline="") if given.out else sys.stdout
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
        file.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
