"""Pictures are read as a viewer shows them, compared with arrays that no picture library made, or refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageCms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from benchmark.errors import AssetError
from benchmark.files.images import read_pictures
from benchmark.files.pictures import open_picture

SIDE = 24
Array = npt.NDArray[Any]
RAMP: Array = np.arange(SIDE * SIDE, dtype=np.int64).reshape(SIDE, SIDE) * 255 // (SIDE * SIDE - 1)
COLORS: Array = np.stack([RAMP, RAMP.T, 255 - RAMP], -1).astype(np.uint8)
"""No symmetry: every turn of it shows another picture."""


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file with its length and sum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    path: Path, rows: Array, bits: int, color: int, *more: bytes, size: tuple[int, int] = (SIDE, SIDE)
) -> Path:
    """A PNG file of rows of bytes, written by hand."""
    head = struct.pack(">IIBBBBB", *size, bits, color, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [chunk(b"IHDR", head), *more, chunk(b"IDAT", content), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def seen(path: Path) -> Array:
    """What is read, ``[H, W, 3]`` integers."""
    picture = open_picture(path)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(np.int64)


def grey(levels: Array) -> Array:
    """The same level in three channels."""
    return np.repeat(levels[..., None], 3, -1).astype(np.int64)


def over_white(colors: Array, alpha: Array) -> Array:
    """Composited, by the formula."""
    share = alpha[..., None] / 255
    return np.asarray(np.round(colors * share + 255 * (1 - share)).astype(np.int64))


@pytest.mark.parametrize("kind", ["RGB png", "L png", "RGB jpg", "L jpg", "P png"])
def test_ordinary_pictures_are_read_bit_for_bit_as_torchvision_reads_them(kind: str, tmp_path: Path) -> None:
    mode, suffix = kind.split()
    pixels = Image.fromarray(COLORS).resize((61, 47))
    picture = pixels.quantize(16) if mode == "P" else pixels.convert(mode)
    path = tmp_path / f"a.{suffix}"
    picture.save(path)
    with Image.open(path) as file:
        plain = transforms.center_crop(
            transforms.resize(file.convert("RGB"), [32], InterpolationMode.BICUBIC), [24, 24]
        )
    assert torch.equal(read_pictures([path], 32, 24)[0], transforms.pil_to_tensor(plain).div(255))


def test_sixteen_bits_are_shown_by_their_range_not_cut_off(tmp_path: Path) -> None:
    levels = (RAMP * 257).astype(">u2")
    assert np.array_equal(seen(png(tmp_path / "grey.png", levels, 16, 0)), grey(RAMP))
    for order, name in (("<u2", "little"), (">u2", "big")):
        Image.fromarray(levels.astype(order)).save(tmp_path / f"{name}.tif")
        assert np.array_equal(seen(tmp_path / f"{name}.tif"), grey(RAMP)), name
    colors = (COLORS.astype(np.int64) * 257).astype(">u2")
    assert np.array_equal(seen(png(tmp_path / "rgb.png", colors, 16, 2)), COLORS)
    alpha = (np.dstack([COLORS.astype(np.int64), RAMP]) * 257).astype(">u2")
    found = seen(png(tmp_path / "rgba.png", alpha, 16, 6))
    assert np.abs(found - over_white(COLORS, RAMP)).max() <= 1


def test_few_bits_are_spread_over_the_range(tmp_path: Path) -> None:
    bits = (RAMP > 127).astype(np.uint8)
    assert np.array_equal(seen(png(tmp_path / "one.png", np.packbits(bits, 1), 1, 0)), grey(bits * 255))
    levels = (RAMP // 17).astype(np.uint8)
    packed = (levels[:, ::2] << 4) | levels[:, 1::2]
    assert np.array_equal(seen(png(tmp_path / "four.png", packed, 4, 0)), grey(levels.astype(np.int64) * 17))


def test_transparent_parts_show_white_and_not_the_color_that_is_hidden(tmp_path: Path) -> None:
    alpha = RAMP.astype(np.uint8)
    alpha[0], alpha[-1] = 0, 255
    expected = over_white(COLORS, alpha)
    for suffix in ("png", "webp", "tif"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(np.dstack([COLORS, alpha])).save(
            path, **({"lossless": True} if suffix == "webp" else {})
        )
        assert np.abs(seen(path)[..., 0] - expected[..., 0]).max() <= 1, suffix
    Image.fromarray(np.dstack([255 - alpha, alpha])).save(tmp_path / "grey.png")
    assert np.abs(seen(tmp_path / "grey.png") - over_white(grey(255 - alpha), alpha)).max() <= 1
    index = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 2).astype(np.uint8)
    palette, clear = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255])), chunk(b"tRNS", bytes([0, 255]))
    found = seen(png(tmp_path / "palette.png", index, 8, 3, palette, clear))
    assert np.array_equal(found, np.where(index[..., None] == 0, 255, np.array([0, 0, 255])))
    key = chunk(b"tRNS", struct.pack(">HHH", *COLORS[0, 0].tolist()))
    found = seen(png(tmp_path / "key.png", COLORS, 8, 2, key))
    assert found[0, 0].tolist() == [255, 255, 255] and np.array_equal(found[5], COLORS[5])


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_pictures_stand_upright_whatever_way_the_camera_was_held(suffix: str, tmp_path: Path) -> None:
    stored = np.repeat(np.repeat(COLORS, 8, 0), 8, 1)[:, :-16]
    upright: dict[int, Callable[[Array], Array]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[::-1],
    }
    how = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    for tag, turn in upright.items():
        exif = Image.Exif()
        exif[0x0112] = tag
        path = tmp_path / f"{tag}.{suffix}"
        Image.fromarray(stored).save(path, exif=exif, **how)
        found = seen(path)
        assert found.shape == turn(stored).shape, tag
        assert np.abs(found - turn(stored)).max() <= 6, tag


def test_inks_are_shown_as_colors(tmp_path: Path) -> None:
    inks = np.dstack([COLORS, RAMP.astype(np.uint8) // 2])
    expected = np.round((255 - COLORS.astype(float)) * (255 - inks[..., 3:]) / 255)
    Image.fromarray(inks, mode="CMYK").save(tmp_path / "a.tif")
    assert np.abs(seen(tmp_path / "a.tif") - expected).max() <= 1
    flat = Image.new("CMYK", (SIDE, SIDE), (255, 0, 0, 0))
    flat.save(tmp_path / "a.jpg", quality=100)
    assert np.abs(seen(tmp_path / "a.jpg") - np.array([0, 255, 255])).max() <= 4
    flat.save(tmp_path / "odd.jpg", quality=100, icc_profile=b"no profile")
    assert np.abs(seen(tmp_path / "odd.jpg") - np.array([0, 255, 255])).max() <= 4


def test_a_grey_picture_with_a_colour_profile_is_its_levels(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(seen(tmp_path / "a.png"), grey(RAMP))


def write_animation(path: Path) -> None:
    """Two frames."""
    first, second = Image.fromarray(COLORS), Image.fromarray(255 - COLORS)
    first.save(path, save_all=True, append_images=[second])


def write_clear_shade(path: Path) -> None:
    """Four bits, one shade of which is transparent."""
    png(path, np.zeros((SIDE, SIDE // 2), np.uint8), 4, 0, chunk(b"tRNS", struct.pack(">H", 3)))


def write_twelve_bits(path: Path) -> None:
    """A TIFF file whose levels end at 4095, as cameras and microscopes write them."""
    Image.fromarray((RAMP * 16).astype(np.uint16)).save(path)
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HHI", 258, 3, 1)) + 8
    content[at : at + 2] = struct.pack("<H", 12)
    path.write_bytes(content)


def write_flipped_bit(path: Path) -> None:
    """A PNG file without compression, one pixel of which has changed on the disk."""
    Image.fromarray(COLORS).save(path, compress_level=0)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_cut(path: Path) -> None:
    """The first half of a picture."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


REFUSED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "animated gif": ("a.gif", write_animation, "it holds 2 frames"),
    "animated png": ("a.png", write_animation, "it holds 2 frames"),
    "animated webp": ("a.webp", write_animation, "it holds 2 frames"),
    "pages": ("a.tif", write_animation, "it holds 2 frames or pages"),
    "float": ("a.tif", lambda p: Image.fromarray(RAMP.astype(np.float32)).save(p), "numbers of kind F"),
    "32 bits": ("a.tif", lambda p: Image.fromarray(RAMP.astype(np.int32)).save(p), "numbers of kind I"),
    "12 bits": ("a.tif", write_twelve_bits, "numbers of kind I;16|damaged"),
    "lab": ("a.tif", lambda p: Image.new("LAB", (9, 9)).save(p), "its pixels are LAB"),
    "clear shade": ("a.png", write_clear_shade, "a transparent color of 4 bits"),
    "flipped bit": ("a.png", write_flipped_bit, "it is damaged"),
    "cut png": ("a.png", write_cut, "it is damaged"),
    "cut jpg": ("a.jpg", write_cut, "it is damaged"),
    "cut webp": ("a.webp", write_cut, "it is damaged|no complete"),
    "cut gif": ("a.gif", write_cut, "it is damaged"),
    "cut bmp": ("a.bmp", write_cut, "it is damaged"),
    "empty": ("a.png", lambda p: p.write_bytes(b""), "no complete JPEG"),
    "text": ("a.jpg", lambda p: p.write_text("no picture"), "no complete JPEG"),
    "postscript": (
        "a.png",
        lambda p: p.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "no complete",
    ),
    "folder": ("a.png", lambda p: p.mkdir(), "it is no file"),
    "nothing": ("a.png", lambda p: None, "there is no such file"),
    "no width": ("a.png", lambda p: png(p, RAMP, 8, 0, size=(0, 9)), "damaged|pixels|no complete"),
    "bomb": ("a.png", lambda p: png(p, RAMP, 8, 0, size=(12000, 12000)), "12000 x 12000 pixels"),
    "huge bomb": ("a.png", lambda p: png(p, RAMP, 8, 0, size=(10**6, 10**6)), "far more than"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_viewer_shows_as_one_picture_is_refused_in_a_sentence_with_its_name(
    kind: str, tmp_path: Path
) -> None:
    name, write, sentence = REFUSED[kind]
    write(tmp_path / name)
    with pytest.raises(AssetError, match=rf"cannot read the picture .*{name}: .*({sentence})") as refused:
        open_picture(tmp_path / name)
    assert "\n" not in str(refused.value)


def test_small_pictures_are_enlarged_and_strips_and_large_crops_refused(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "small.png")
    found = read_pictures([tmp_path / "small.png"], 64, 60)[0]
    assert found.shape == (3, 60, 60) and float(found.min(0).values.max()) > 0, "no black border"
    with pytest.raises(AssetError, match="have no 65 to crop: lower crop, or raise resize"):
        read_pictures([tmp_path / "small.png"], 64, 65)
    Image.new("L", (60000, 1)).save(tmp_path / "strip.png")
    with pytest.raises(AssetError, match=r"strip\.png: it is 60000 x 1 pixels, too long a strip"):
        read_pictures([tmp_path / "strip.png"], 256, 224)
