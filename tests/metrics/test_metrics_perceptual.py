"""Perceptual distances equal the packages' own forward pass, cache safely and never download."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.metrics import perceptual
from benchmark.metrics.perceptual import (
    ALEXNET_FILE,
    MetricUnavailable,
    PerceptualDistance,
    load_lpips,
    load_perceptual,
    load_stlpips,
    maps_as_pictures,
    state_sha256,
)

# Of the release 0.0.2 of stlpips-pytorch; another value means other weights, hence other numbers.
STLPIPS_SHA256 = "32d9301dea9f6d7354e4ad6909a529de3044abf0f737300820fe8f7168d8ba83"


def pictures(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, height, width, generator=generator)


def as_packages_want(values: Tensor, height: int, width: int) -> Tensor:
    """Enlarge, repeat channels and scale to [-1, 1], written apart from the code under test."""
    if values.shape[-2:] != (height, width):
        values = functional.interpolate(values, (height, width), mode="bilinear")
    return (values.repeat(1, 3, 1, 1) if values.shape[1] == 1 else values) * 2 - 1


@pytest.fixture(scope="module")
def stlpips() -> PerceptualDistance:
    return load_stlpips()


@pytest.fixture(scope="module")
def stlpips_package(stlpips: PerceptualDistance) -> Any:
    package: Any = importlib.import_module("stlpips_pytorch.stlpips")
    return package.LPIPS(net="alex", variant="shift_tolerant", verbose=False)


@pytest.fixture(scope="module")
def hub_with_alexnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache of torchvision with an AlexNet of random weights in place of the trained one."""
    alexnet = importlib.import_module("torchvision.models").alexnet

    hub = tmp_path_factory.mktemp("hub")
    (hub / "checkpoints").mkdir()
    torch.manual_seed(0)
    weights = alexnet(weights=None).state_dict()
    for name, value in weights.items():
        if name.startswith("classifier"):
            # One stored zero seen as a whole matrix keeps the file small; no metric reads these.
            weights[name] = torch.zeros(1).expand(value.shape)
    torch.save(weights, hub / "checkpoints" / ALEXNET_FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "_hub_dir", str(hub))
        yield hub


def prefix_of(hub: Path) -> str:
    return hashlib.sha256((hub / "checkpoints" / ALEXNET_FILE).read_bytes()).hexdigest()[:8]


@pytest.fixture(scope="module")
def lpips(hub_with_alexnet: Path) -> PerceptualDistance:
    return load_lpips(sha256_prefix=prefix_of(hub_with_alexnet))


@pytest.fixture(scope="module")
def lpips_package(hub_with_alexnet: Path) -> Any:
    package: Any = importlib.import_module("lpips")
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the package uses torchvision's former interface
        return package.LPIPS(net="alex", verbose=False)


@pytest.mark.parametrize("name", ["stlpips", "lpips"])
@pytest.mark.parametrize(
    ("shape", "enlarged"),
    [((18, 1, 28, 28), (64, 64)), ((3, 3, 30, 45), (64, 96)), ((2, 3, 70, 66), (70, 66))],
)
def test_equals_the_package(
    name: str,
    shape: tuple[int, int, int, int],
    enlarged: tuple[int, int],
    request: pytest.FixtureRequest,
) -> None:
    distance = request.getfixturevalue(name)
    package = request.getfixturevalue(f"{name}_package")
    first, second = pictures(*shape, seed=1), pictures(*shape, seed=2)
    second[-1] = (first[-1] + second[-1]) / 2
    with torch.no_grad():
        expected = package(as_packages_want(first, *enlarged), as_packages_want(second, *enlarged))
    result = distance(first, second)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, expected.flatten().double(), atol=1e-6, rtol=0)
    # The second time comes from the cache.
    assert torch.equal(distance(first, second), result)


def test_distance_is_zero_for_equal_and_symmetric(stlpips: PerceptualDistance) -> None:
    first, second = pictures(3, 1, 28, 28, seed=3), pictures(3, 1, 28, 28, seed=4)
    assert (stlpips(first, first.clone()) == 0).all()
    assert (stlpips(first, second) > 0.01).all()
    assert torch.equal(stlpips(first, second), stlpips(second, first))


def test_samples_do_not_interact(stlpips: PerceptualDistance) -> None:
    first, second = pictures(5, 1, 28, 28, seed=5), pictures(5, 1, 28, 28, seed=6)
    together = load_like(stlpips)(first, second)
    alone = torch.cat([load_like(stlpips)(first[n : n + 1], second[n : n + 1]) for n in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def load_like(distance: PerceptualDistance) -> PerceptualDistance:
    """The same weights with an empty cache."""
    return PerceptualDistance(distance.name, distance._network)


def test_what_is_in_the_cache_changes_no_bit(stlpips: PerceptualDistance) -> None:
    """Where a worker has embedded some pictures already, the others come in batches of another size."""
    values = pictures(19, 1, 28, 28)
    together = stlpips.features(values)
    for order in (range(19), [18, 0, 5], [7]):
        stlpips._cache.clear()
        for index in order:
            alone = stlpips.features(values[index : index + 1])
            assert all(torch.equal(a[0], b[index]) for a, b in zip(alone, together, strict=True)), index
        rest = stlpips.features(values)
        assert all(torch.equal(a, b) for a, b in zip(rest, together, strict=True))


def test_gray_pictures_equal_repeated_channels(stlpips: PerceptualDistance) -> None:
    first, second = pictures(2, 1, 28, 28, seed=7), pictures(2, 1, 28, 28, seed=8)
    colored = stlpips(first.repeat(1, 3, 1, 1), second.repeat(1, 3, 1, 1))
    torch.testing.assert_close(stlpips(first, second), colored, atol=1e-6, rtol=0)


def test_weights_are_the_published_ones(stlpips: PerceptualDistance, stlpips_package: Any) -> None:
    assert stlpips.name == "stlpips"
    assert stlpips.weights_sha256 == state_sha256(stlpips_package) == STLPIPS_SHA256


def test_lpips_weights_come_from_the_file(lpips: PerceptualDistance, lpips_package: Any) -> None:
    assert lpips.name == "lpips"
    assert lpips.weights_sha256 == state_sha256(lpips_package)


def test_state_hash_sees_values_and_names_only() -> None:
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 3)
    before = state_sha256(network)
    assert state_sha256(network.to(memory_format=torch.channels_last)) == before
    with torch.no_grad():
        network.weight[0, 0, 0, 0] += 1
    assert state_sha256(network) != before


def test_lpips_without_weights_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MetricUnavailable) as caught:
        load_perceptual("lpips")
    reason = str(caught.value)
    assert ALEXNET_FILE in reason
    assert str(tmp_path / "hub" / "checkpoints") in reason
    assert "torchvision's own download of AlexNet_Weights.IMAGENET1K_V1" in reason
    assert reason.endswith(".")


def test_lpips_refuses_other_weights(hub_with_alexnet: Path) -> None:
    with pytest.raises(MetricUnavailable, match=f"7be5be79, not with {prefix_of(hub_with_alexnet)}"):
        load_lpips()


def test_loading_is_silent_and_leaves_random_state_and_network_alone(
    hub_with_alexnet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was to be downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_lpips(sha256_prefix=prefix_of(hub_with_alexnet))
        load_stlpips()
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("module", ["lpips", "stlpips_pytorch.stlpips"])
def test_missing_package_is_named(
    module: str, hub_with_alexnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MetricUnavailable, match=f"needs the package {module.partition('.')[0]}"):
        if module == "lpips":
            load_lpips(sha256_prefix=prefix_of(hub_with_alexnet))
        else:
            load_stlpips()


def test_stubs_for_debugging_tools_do_not_stay(stlpips: PerceptualDistance) -> None:
    for name in ("IPython", "torchsummary"):
        assert name not in sys.modules or sys.modules[name].__spec__ is not None


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="choose lpips or stlpips"):
        load_perceptual("dists")


class CountingNetwork(nn.Module):
    """Looks like the packages' networks, has the picture itself as its features, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.scaling_layer = nn.Identity()
        self.net = self.embed
        head = nn.Module()
        head.model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False))
        self.lins = nn.ModuleList([head])
        self.batches: list[int] = []

    def embed(self, values: Tensor) -> list[Tensor]:
        self.batches.append(len(values.unique(dim=0)))  # a lone picture comes twice
        return [values]


FEATURE_BYTES = 3 * 64 * 64 * 4


def test_a_target_is_embedded_once() -> None:
    network = CountingNetwork()
    distance = PerceptualDistance("counting", network)
    target = pictures(1, 1, 64, 64, seed=9)
    maps = pictures(40, 1, 64, 64, seed=10)
    result = distance(maps, target.expand(40, -1, -1, -1))
    assert sum(network.batches) == 41
    assert max(network.batches) <= 16
    # One target's features also stand against all maps' features.
    torch.testing.assert_close(distance.distance(distance.features(maps), distance.features(target)), result)
    assert sum(network.batches) == 41


def test_the_cache_is_bounded_and_drops_the_longest_unused() -> None:
    network = CountingNetwork()
    distance = PerceptualDistance("counting", network, cache_bytes=2 * FEATURE_BYTES)
    a, b, c = (pictures(1, 3, 64, 64, seed=seed) for seed in (11, 12, 13))
    for picture in (a, b, a, c, a):
        distance.features(picture)
    assert sum(network.batches) == 3
    distance.features(b)
    assert sum(network.batches) == 4


def test_no_cache_gives_the_same_numbers() -> None:
    network = CountingNetwork()
    first, second = pictures(20, 3, 64, 64, seed=12), pictures(20, 3, 64, 64, seed=13)
    cached = PerceptualDistance("counting", network)(first, second)
    assert torch.equal(PerceptualDistance("counting", network, cache_bytes=0)(first, second), cached)


def test_pictures_of_equal_bytes_but_other_shape_are_told_apart() -> None:
    distance = PerceptualDistance("counting", CountingNetwork())
    picture = pictures(1, 1, 64, 128, seed=14)
    assert distance.features(picture)[0].shape == (1, 3, 64, 128)
    assert distance.features(picture.reshape(1, 1, 128, 64))[0].shape == (1, 3, 128, 64)


def test_cached_features_survive_changes_of_the_input() -> None:
    distance = PerceptualDistance("counting", CountingNetwork())
    picture = pictures(1, 3, 64, 64, seed=15)
    before = distance.features(picture)[0]
    original = picture.clone()
    picture.zero_()
    before.zero_()
    assert distance.features(original)[0].abs().sum() > 0


def test_no_gradients_flow(stlpips: PerceptualDistance) -> None:
    first = pictures(1, 1, 28, 28, seed=16).requires_grad_()
    assert not stlpips(first, torch.zeros(1, 1, 28, 28)).requires_grad


def test_empty_batches(stlpips: PerceptualDistance) -> None:
    assert stlpips(torch.zeros(0, 1, 28, 28), torch.zeros(0, 1, 28, 28)).shape == (0,)


def test_wrong_pictures_are_refused(stlpips: PerceptualDistance) -> None:
    good = torch.zeros(1, 1, 28, 28)
    for bad in (good + 1.1, good - 0.1, good * torch.nan):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            stlpips(bad, good)
    for shape in ((1, 28, 28), (1, 2, 28, 28)):
        with pytest.raises(ValueError, match="1 or 3"):
            stlpips(torch.zeros(shape), torch.zeros(shape))
    with pytest.raises(ValueError, match="shapes differ"):
        stlpips(good, torch.zeros(1, 1, 30, 28))


def test_maps_as_pictures() -> None:
    maps = torch.stack([torch.zeros(4, 4), torch.full((4, 4), 1e-4), torch.rand(4, 4) * 7])
    result = maps_as_pictures(maps)
    assert result.shape == (3, 1, 4, 4)
    assert result.amax((1, 2, 3)).tolist() == [0, 1, 1]
    torch.testing.assert_close(result[2, 0] * maps[2].max(), maps[2])
    with pytest.raises(ValueError, match="negative"):
        maps_as_pictures(-maps)
    with pytest.raises(ValueError, match="maps"):
        maps_as_pictures(maps[None])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_devices_agree(stlpips: PerceptualDistance) -> None:
    first, second = pictures(3, 1, 28, 28, seed=17), pictures(3, 1, 28, 28, seed=18)
    on_device = stlpips(first.cuda(), second.cuda())
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), stlpips(first, second), atol=1e-4, rtol=0)


def test_batches_hold_sixteen_pictures() -> None:
    assert perceptual.BATCH == 16
