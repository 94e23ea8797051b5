"""Networks are those that their publisher's own builder makes of the same weights."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from benchmark.errors import TaskError
from benchmark.victims import published
from benchmark.victims.loading import _architecture, fill
from benchmark.victims.manifest import TimmEntry, TorchvisionEntry

SIDES = {"googlenet": 96}
PAPERS = {"licence": "MIT", "origin": "made by a test"}
INPUT: dict[str, Any] = {"mean": (0.5,) * 3, "deviation": (0.5,) * 3, "classes": 1000, **PAPERS}


def choices() -> list[tuple[str, str]]:
    """Of every class of networks one builder, and more of those with weights of several kinds."""
    found: dict[Any, list[str]] = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        made = inspect.signature(torchvision.models.get_model_builder(name)).return_annotation
        found.setdefault(made, []).append(name)
    small = [next((n for n in group if n.endswith("_400mf")), group[0]) for group in found.values()]
    names = [*small, "vit_b_16", "vit_h_14", "resnet50", "vgg16"]
    return [(n, w.name) for n in dict.fromkeys(names) for w in torchvision.models.get_model_weights(n)]


def facts(module: nn.Module) -> dict[str, str]:
    """All that decides what a network computes besides its weights, and their shapes."""
    told = {name: repr(part) for name, part in module.named_modules()}
    for name, part in module.named_modules():
        plain = {
            k: v for k, v in vars(part).items() if isinstance(v, bool | int | float | str | tuple | None)
        }
        told[f"{name} settings"] = str(sorted(plain.items()))
    return told | {name: str(list(tensor.shape)) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("name", "weights"), choices())
def test_a_network_is_built_as_torchvision_builds_it_for_the_weights(name: str, weights: str) -> None:
    choice = torchvision.models.get_model_weights(name)[weights]
    with torch.device("cpu" if name.startswith("regnet") else "meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = published.torchvision_network(name, weights)
        loaded = mock.patch.object(nn.Module, "load_state_dict", lambda *_, **__: None)
        unread = mock.patch.object(type(choice), "get_state_dict", lambda *_, **__: {})
        with loaded, unread:
            right = torchvision.models.get_model(name, weights=choice)
        published.trim(ours)
    assert facts(ours) == facts(right)


@pytest.mark.parametrize("name", SIDES)
def test_the_same_weights_give_the_logits_of_torchvisions_own_builder(name: str) -> None:
    side = SIDES[name]
    choice = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    torch.manual_seed(0)
    donor = torchvision.models.get_model(name, weights=None, init_weights=False)
    for part in donor.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():  # running statistics of ordinary inputs, so that signals keep their size
        donor.train()(torch.rand(2, 3, side, side) * 4 - 2)
    state: dict[str, Tensor] = donor.state_dict()
    with mock.patch.object(type(choice), "get_state_dict", lambda *_, **__: state), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = torchvision.models.get_model(name, weights=choice).eval()
    entry = TorchvisionEntry(
        source="torchvision", name=name, weights="IMAGENET1K_V1", size=(3, side, side), **INPUT
    )
    ours = _architecture(name, entry)
    fill(ours, state, Path("x"))
    images = torch.rand(2, 3, side, side) * 4 - 2
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), right(images), rtol=1e-5, atol=1e-6)
        plain = donor.eval()(images)
    assert not torch.allclose(plain, right(images), rtol=1e-2, atol=0), "without the choice they differ"


@pytest.mark.parametrize(
    "name", ["resnet18.a1_in1k", "tf_efficientnet_lite0.in1k", "mobilenetv3_small_050.lamb_in1k"]
)
def test_the_same_weights_give_the_logits_of_timms_own_builder(name: str) -> None:
    torch.manual_seed(0)
    state = timm.create_model(name, pretrained=False).state_dict()
    overlay = {"state_dict": state, "hf_hub_id": None, "url": "", "file": ""}
    right = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    ours = _architecture(name, TimmEntry(source="timm", name=name, size=(3, 64, 64), **INPUT))
    fill(ours, state, Path("x"))
    images = torch.rand(2, 3, 64, 64) * 4 - 2
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), right(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["quantized_resnet18", "fcn_resnet50", "r3d_18", "nothing"])
def test_what_is_no_classifier_of_pictures_is_refused(name: str) -> None:
    with pytest.raises(TaskError, match=f"torchvision has no classifier '{name}'"):
        published.torchvision_network(name, "DEFAULT")
