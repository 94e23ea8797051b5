"""A perceptual metric is the published one with its published weights, or missing with a reason.

Two learned distances are offered: LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep
Features as a Perceptual Metric") and ST-LPIPS (Ghildyal and Liu 2022, "Shift-tolerant Perceptual
Similarity Metric"), both on AlexNet. Nothing here ever downloads. One is never silently replaced by
the other, and the hash of the weights says which one made a number.

Both are distances between features of each picture alone. The features of a picture are therefore
computed once and kept in a small cache, which halves the work or better wherever one target is
compared with many maps.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import io
import os
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MINIMUM_SIDE = 64
"""Pictures are enlarged until their shorter side has this many pixels."""

BATCH = 16
"""Pictures that pass through the network at once."""

ALEXNET_FILE = "alexnet-owt-7be5be79.pth"
"""The file name under which torchvision keeps AlexNet's ImageNet weights."""

ALEXNET_SHA256_PREFIX = "7be5be79"
"""How the SHA-256 of that file begins (torchvision's own check)."""

CACHE_BYTES = 128 * 2**20
"""Size of the cache of features: some two hundred pictures of 64x64 pixels under ST-LPIPS."""

_ROUNDING = 1e-6
_EPSILON = 1e-10  # guards the division by the norm of a feature vector, as in both packages


class MetricUnavailable(Exception):
    """The metric cannot be computed here; the message says why and what would help."""


class PerceptualDistance:
    """A learned distance between pictures; 0 for equal pictures, larger for more different ones.

    Pictures are ``[N, C, H, W]`` in [0, 1] with one channel (repeated to three) or three. Where the
    shorter side has fewer than 64 pixels they are enlarged (bilinear) until it has 64, because
    AlexNet's strides leave nothing of smaller ones. The network runs in float32 without gradients
    on the pictures' device. Results carry its rounding, about 1e-6, which may vary with the device;
    what a picture is embedded beside has been found to change no bit on a CPU.

    Attributes:
        name: ``"lpips"`` or ``"stlpips"``.
        weights_sha256: hash of all weights (see :func:`state_sha256`), equal on every machine.
    """

    def __init__(self, name: str, network: nn.Module, cache_bytes: int = CACHE_BYTES) -> None:
        """Wrap a network of the ``lpips`` or ``stlpips_pytorch`` package.

        Args:
            name: the metric's name in results.
            network: offers ``scaling_layer``, ``net`` (layers of features) and ``lins`` (a weight
                per channel).
            cache_bytes: memory that cached features may take; 0 turns the cache off.
        """
        self.name = name
        self.weights_sha256 = state_sha256(network)
        # Channels last halves the time on a CPU: pooling and depthwise blurs dominate otherwise.
        network = network.eval().requires_grad_(False)
        self._network: Any = network.to(memory_format=torch.channels_last)
        self._cache: OrderedDict[str, list[Tensor]] = OrderedDict()
        self._cache_limit = cache_bytes
        self._cache_size = 0

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Distance of each pair of pictures.

        Args:
            first: pictures ``[N, C, H, W]`` in [0, 1], C 1 or 3.
            second: the same shape.

        Returns:
            ``float64 Tensor[N]``, at least 0, on the first argument's device.

        Raises:
            ValueError: if the shapes differ or are not as above, or a value is outside [0, 1] or
                NaN.
        """
        if first.shape != second.shape:
            raise ValueError(f"shapes differ: {tuple(first.shape)} and {tuple(second.shape)}")
        second = second.to(first.device)
        parts = [
            self.distance(
                self.features(first[start : start + BATCH]),
                self.features(second[start : start + BATCH]),
            )
            for start in range(0, max(len(first), 1), BATCH)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def features(self, pictures: Tensor) -> list[Tensor]:
        """Features of each picture, every pixel's feature vector scaled to unit length.

        Args:
            pictures: ``[N, C, H, W]`` in [0, 1], C 1 or 3.

        Returns:
            One ``float32 Tensor[N, channels, height, width]`` per layer.

        Raises:
            ValueError: if the shape is not as above, or a value is outside [0, 1] or NaN.
        """
        pictures = _checked(pictures)
        if len(pictures) == 0:
            return [layer[:0] for layer in self._embed(pictures.new_zeros(1, *pictures.shape[1:]))]
        keys = [_picture_key(picture) for picture in pictures]
        known = {key: self._cache[key] for key in keys if key in self._cache}
        # Dictionaries keep their order, and a picture that occurs twice is embedded once.
        missing = {key: index for index, key in enumerate(keys) if key not in known}
        for chunk in _chunks(list(missing), BATCH):
            layers = self._embed(pictures[[missing[key] for key in chunk]])
            for position, key in enumerate(chunk):
                # A copy, since a view would keep the whole batch in memory.
                known[key] = [layer[position].clone() for layer in layers]
        for key in keys:
            self._remember(key, known[key])
        per_picture = [known[key] for key in keys]
        return [torch.stack(layer) for layer in zip(*per_picture, strict=True)]

    @torch.no_grad()
    def distance(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
        """Weighted squared difference of features, averaged over pixels, summed over layers.

        Equation 1 of Zhang et al. 2018. A side with the features of one picture is compared with
        all of the other.

        Args:
            first: from :meth:`features`.
            second: from :meth:`features`, of pictures of the same size.

        Returns:
            ``float64 Tensor[N]``, at least 0.
        """
        total = torch.zeros((), dtype=torch.float64, device=first[0].device)
        for one, other, head in zip(first, second, self._network.lins, strict=True):
            # The mean over pixels and the weighted sum over channels commute; the mean first is
            # cheaper.
            difference = (one - other).square().mean((2, 3)).to(torch.float64)
            total = total + difference @ head.model[-1].weight.flatten().to(total)
        return total

    def _embed(self, pictures: Tensor) -> list[Tensor]:
        """Features of at most ``BATCH`` checked pictures, computed and not looked up."""
        self._network.to(pictures.device)
        # Convolutions of one picture take another path than those of several, and round otherwise: what is in
        # the cache already would decide about the last bits.
        several = pictures.expand(2, -1, -1, -1) if len(pictures) == 1 else pictures
        scaled = self._network.scaling_layer(_enlarged(several).expand(-1, 3, -1, -1) * 2 - 1)
        # TF32 would cost a GPU three of float32's seven digits.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            layers = self._network.net(scaled.contiguous(memory_format=torch.channels_last))
        return [_unit_length(layer)[: len(pictures)] for layer in layers]

    def _remember(self, key: str, features: list[Tensor]) -> None:
        """Make these the latest features in the cache; drop the longest unused beyond its limit."""
        if key not in self._cache:
            self._cache[key] = features
            self._cache_size += _bytes(features)
        self._cache.move_to_end(key)
        while self._cache_size > self._cache_limit:
            _, dropped = self._cache.popitem(last=False)
            self._cache_size -= _bytes(dropped)


def load_perceptual(name: str) -> PerceptualDistance:
    """Load a perceptual distance by its name in task files.

    Args:
        name: ``"lpips"`` or ``"stlpips"``.

    Returns:
        The distance, ready to be called.

    Raises:
        MetricUnavailable: if its package or weights are not at hand.
        ValueError: if there is no metric of this name.
    """
    if name == "lpips":
        return load_lpips()
    if name == "stlpips":
        return load_stlpips()
    raise ValueError(f"no perceptual metric is called {name!r}: choose lpips or stlpips")


def load_lpips(sha256_prefix: str = ALEXNET_SHA256_PREFIX) -> PerceptualDistance:
    """Load LPIPS on AlexNet, version 0.1, from torchvision's weights file; never download it.

    Args:
        sha256_prefix: how the SHA-256 of the weights file must begin.

    Returns:
        The distance, named ``lpips``.

    Raises:
        MetricUnavailable: if the weights file is not in torchvision's cache, or is another file, or
            the package ``lpips`` is not installed.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / ALEXNET_FILE
    # The reason is published beside the results, which a user's home folder has no place in.
    home = Path(os.path.expanduser("~"))  # stays "~" where the user has none, as in some containers
    inside = len(home.parts) > 1 and folder.is_relative_to(home)
    shown = f"~/{folder.relative_to(home)}" if inside else str(folder)
    if not path.is_file():
        raise MetricUnavailable(
            f"LPIPS needs the file {ALEXNET_FILE} in the folder {shown}, where "
            "torchvision's own download of AlexNet_Weights.IMAGENET1K_V1 puts it."
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not digest.startswith(sha256_prefix):
        raise MetricUnavailable(
            f"LPIPS needs {path} with a SHA-256 that begins with {sha256_prefix}, not with "
            f"{digest[:8]}: delete it and put there what torchvision's own download of "
            "AlexNet_Weights.IMAGENET1K_V1 gives."
        )
    package = _package("lpips", "LPIPS")
    with _silently():
        # Asked for a trained backbone, the package could download: take a random one, filled below.
        network = package.LPIPS(net="alex", version="0.1", pnet_rand=True, verbose=False)
    _fill_alexnet(network, torch.load(path, map_location="cpu", weights_only=True))
    return PerceptualDistance("lpips", network)


def load_stlpips() -> PerceptualDistance:
    """Load ST-LPIPS on AlexNet; all of its weights come with the package ``stlpips_pytorch``.

    Returns:
        The distance, named ``stlpips``.

    Raises:
        MetricUnavailable: if the package is not installed.
    """
    with _debugging_tools_stubbed():
        package = _package("stlpips_pytorch.stlpips", "ST-LPIPS")
    with _silently():
        network = package.LPIPS(net="alex", variant="shift_tolerant", verbose=False)
    return PerceptualDistance("stlpips", network)


def maps_as_pictures(maps: Tensor) -> Tensor:
    """Show attribution maps as gray pictures, each map divided by its own maximum.

    Args:
        maps: ``[N, H, W]``, nonnegative.

    Returns:
        ``Tensor[N, 1, H, W]`` in [0, 1]; a map that is zero everywhere stays so.

    Raises:
        ValueError: if the shape is not as above or a value is negative.
    """
    if maps.ndim != 3:
        raise ValueError(f"expected maps [N, H, W], got shape {tuple(maps.shape)}")
    if bool((maps < 0).any()):
        raise ValueError("a map has negative values: take absolute values first")
    maximum = maps.amax((1, 2), keepdim=True)
    return (maps / torch.where(maximum == 0, 1, maximum)).unsqueeze(1)


def state_sha256(network: nn.Module) -> str:
    """SHA-256 over a state dict: sorted names, each followed by its tensor's raw bytes.

    Args:
        network: any module; device and memory layout do not matter.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _checked(pictures: Tensor) -> Tensor:
    """The pictures in float32, without gradient; or a ValueError that says what is wrong."""
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise ValueError(f"expected [N, 1 or 3, H, W], got shape {tuple(pictures.shape)}")
    # Written so that NaN fails too.
    if not bool(((pictures >= -_ROUNDING) & (pictures <= 1 + _ROUNDING)).all()):
        raise ValueError("pictures must lie in [0, 1]")
    return pictures.detach().to(torch.float32)


def _enlarged(pictures: Tensor) -> Tensor:
    height, width = pictures.shape[-2:]
    shorter = min(height, width)
    if shorter >= MINIMUM_SIDE:
        return pictures
    size = (round(height * MINIMUM_SIDE / shorter), round(width * MINIMUM_SIDE / shorter))
    return functional.interpolate(pictures, size=size, mode="bilinear", align_corners=False, antialias=False)


def _unit_length(layer: Tensor) -> Tensor:
    """Features ``[N, channels, height, width]`` with every pixel's vector scaled to length 1."""
    length: Tensor = torch.linalg.vector_norm(layer, dim=1, keepdim=True)
    return layer / (length + _EPSILON)


def _picture_key(picture: Tensor) -> str:
    """Equal for pictures of equal shape and bytes on the same device."""
    content = hashlib.sha1(picture.cpu().contiguous().numpy().tobytes(), usedforsecurity=False)
    return f"{tuple(picture.shape)} {picture.device} {content.hexdigest()}"


def _chunks(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _bytes(features: list[Tensor]) -> int:
    return sum(layer.numel() * layer.element_size() for layer in features)


def _fill_alexnet(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy torchvision's ``features.N.weight`` to ``net.sliceK.N.weight``, biases likewise."""
    state = network.state_dict()
    backbone = [name for name in state if name.startswith("net.")]
    for name in backbone:
        layer_and_kind = name.split(".", 2)[2]
        state[name] = weights[f"features.{layer_and_kind}"]
    network.load_state_dict(state)


def _package(module: str, metric: str) -> ModuleType:
    try:
        with _silently():
            return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise MetricUnavailable(
            f"{metric} needs the package {name}, which cannot be imported here ({error})."
        ) from error


@contextlib.contextmanager
def _silently() -> Iterator[None]:
    """Keep the packages from printing, from warning and from using the global random state."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=[]),
    ):
        # Both packages build their networks through torchvision's former interface.
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _debugging_tools_stubbed() -> Iterator[None]:
    """Let ``stlpips_pytorch`` import its debugging tools where they are absent.

    It imports ``IPython.embed`` and ``torchsummary.summary``, declares neither and, for a distance,
    never calls them.
    """
    stubbed = []
    for name, attribute in (("IPython", "embed"), ("torchsummary", "summary")):
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            stub = ModuleType(name)
            setattr(stub, attribute, None)
            sys.modules[name] = stub
            stubbed.append(name)
    try:
        yield
    finally:
        for name in stubbed:
            del sys.modules[name]


def weights_at_hand(name: str) -> bool:
    """Whether :func:`load_perceptual` would find weights, without loading or hashing anything."""
    if name == "stlpips":
        return importlib.util.find_spec("stlpips_pytorch") is not None
    return (Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET_FILE).is_file()
