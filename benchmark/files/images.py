"""Image files as tensors: idx files, strips, and pictures resized and cropped; a damaged file is named."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy
import torch
from torch import Tensor

from benchmark.errors import AssetError
from benchmark.files.pictures import MOST_PIXELS, open_picture

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


def read_strip(path: Path) -> Tensor:
    """Square colour pictures that lie below each other in one file, as a uint8 tensor ``[N, 3, S, S]``.

    Stored so, a picture's neighbouring pixels are the file's, which PNG packs by a quarter smaller than idx.

    Raises:
        AssetError: the file is no readable picture, or not a whole number of squares high.
    """
    pixels = numpy.asarray(open_picture(path))
    height, side = pixels.shape[:2]
    if height % side:
        raise AssetError(f"{path} is {height} pixels high, which is no whole number of squares of {side}")
    return torch.from_numpy(pixels.reshape(-1, side, side, 3).transpose(0, 3, 1, 2).copy())


def read_pictures(paths: Sequence[Path], resize: int, crop: int) -> Tensor:
    """Pictures as ``[N, 3, crop, crop]`` float32 in [0, 1].

    The shorter side is resized to ``resize`` pixels (bicubic; smaller pictures are enlarged), then the center
    is cropped.

    Raises:
        AssetError: a file is not a readable picture, or ``crop`` is larger than ``resize``.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as transforms

    if crop > resize:
        raise AssetError(
            f"pictures resized to {resize} pixels have no {crop} to crop: lower crop, or raise resize"
        )
    images = torch.empty(len(paths), 3, crop, crop)
    for image, path in zip(images, paths, strict=True):
        picture = open_picture(path)
        short, long = sorted(picture.size)
        if resize * resize * long > MOST_PIXELS * short:
            raise AssetError(
                f"cannot read the picture {path}: it is {picture.width} x {picture.height} pixels, too long "
                f"a strip to be resized to {resize} pixels in width; cut it"
            )
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
