"""Every image is read in full or its damaged file is named; none is skipped or read in part."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from benchmark.errors import AssetError

EXTENSIONS = {".jpg", ".jpeg", ".png"}
_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The bytes of a gzipped idx file as a uint8 tensor.

    Args:
        path: the file.
        dimensions: how many it must have: 3 for images ``[N, H, W]``, 1 for labels ``[N]``.

    Raises:
        AssetError: the file is truncated, of another kind or of a length that its header denies.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise AssetError(f"{path} is not a complete gzip file: {error}") from error
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise AssetError(f"{path} is too short for an idx file with {dimensions} dimensions")
    magic = int.from_bytes(content[:4], "big")
    expected = _UNSIGNED_BYTE << 8 | dimensions
    if magic != expected:
        raise AssetError(f"{path} starts with magic number {magic:#010x}, not {expected:#010x}")
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise AssetError(
            f"{path} holds {len(content) - start} values, but its header says {math.prod(shape)}"
        )
    values = numpy.frombuffer(content, numpy.uint8, offset=start).reshape(shape)
    return torch.from_numpy(values.copy())


def read_pictures(paths: Sequence[Path], resize: int, crop: int) -> Tensor:
    """Pictures as ``[N, 3, crop, crop]`` float32 in [0, 1].

    The shorter side is resized to ``resize`` pixels (bicubic), then the center is cropped.

    Raises:
        AssetError: a file is not a readable picture.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as transforms

    images = torch.empty(len(paths), 3, crop, crop)
    for image, path in zip(images, paths, strict=True):
        try:
            with Image.open(path) as file:
                picture = file.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise AssetError(f"cannot read the picture {path}: {error}") from error
        picture = transforms.resize(picture, [resize], InterpolationMode.BICUBIC)
        picture = transforms.center_crop(picture, [crop, crop])
        image.copy_(transforms.pil_to_tensor(picture)).div_(255)
    return images


def imagenet_classes() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ImageNet's 1,000 WordNet ids and their descriptions, both by class index."""
    from timm.data.imagenet_info import ImageNetInfo

    information = ImageNetInfo("imagenet-1k")
    ids = tuple(information.label_names())  # type: ignore[no-untyped-call]
    return ids, tuple(information.index_to_description(index) for index in range(len(ids)))


def pictures_by_class(folder: Path) -> dict[str, list[Path]]:
    """The sorted pictures of every class folder, which is named by its WordNet id, sorted by id.

    Raises:
        AssetError: a folder's name is no ImageNet class, or there is no picture at all.
    """
    known = set(imagenet_classes()[0])
    classes: dict[str, list[Path]] = {}
    for child in sorted(folder.iterdir()):
        if not child.is_dir() or child.name.startswith("."):
            continue
        if child.name not in known:
            raise AssetError(
                f"{child} is not named by the WordNet id of an ImageNet class, such as n01440764"
            )
        classes[child.name] = [p for p in sorted(child.iterdir()) if p.suffix.lower() in EXTENSIONS]
    if not any(classes.values()):
        raise AssetError(f"{folder} holds no class folders with .jpg, .jpeg or .png pictures")
    return classes


def halve(classes: dict[str, list[Path]], seed: int) -> tuple[list[Path], list[Path]]:
    """Two disjoint halves of the pictures; their sizes differ by one at most, within a class too.

    Classes, and the pictures of a class, are put in an order that a hash of seed and name gives;
    pictures then go to the halves in turn (so that one picture per class still fills both). Each
    half lists one picture of every class first, then a second, and so on: a limit takes many
    classes.
    """
    halves: tuple[list[tuple[int, str, Path]], ...] = ([], [])
    turn = 0
    for name in sorted(classes, key=lambda name: _shuffle_key(seed, name)):
        ranks = [0, 0]
        for path in sorted(classes[name], key=lambda path: _shuffle_key(seed, path.name)):
            halves[turn].append((ranks[turn], name, path))
            ranks[turn] += 1
            turn = 1 - turn
    first, second = ([path for _, _, path in sorted(half)] for half in halves)
    return first, second


def _shuffle_key(seed: int, name: str) -> bytes:
    """Sorts names in an order that looks random and depends on the seed and the name alone."""
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
