"""A picture file is read as a viewer shows it, or refused in a sentence that names it.

What viewers agree on is followed: the orientation that a camera noted, transparency (on white), palettes, 16
bits per channel, CMYK. What they do not agree on, or what a single still picture cannot hold, is refused:
several frames, numbers without a range, damage. Colour profiles of RGB and grey pictures are not applied, as
in the preprocessing that ImageNet networks were trained with; those of CMYK pictures are.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from benchmark.errors import AssetError, in_a_line

EXTENSIONS = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""In lower case: how the names of pictures end."""
BACKGROUND = (255, 255, 255)
"""What is seen through transparent parts: white, as in most viewers."""
MOST_PIXELS = 2**27
"""Of a picture as stored, and as resized: half a gigabyte in RGB with transparency."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF")
_SEVERAL_SHOWN_AS_ONE = ("MPO",)
"""Photos with more pictures behind the one that is shown (other views, depth)."""
_ORIENTATION, _PHOTOMETRIC, _BITS = 0x0112, 262, 258
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_SHOWN = ("1", "L", "P", "RGB", "RGBX", "YCbCr", "CMYK", *_ALPHA)
_RANGELESS = ("I", "F", *_SIXTEEN)


class _Refused(Exception):
    """Why a picture is not read, and what to do."""


def open_picture(path: Path) -> Image.Image:
    """The picture as RGB, upright, whole.

    Raises:
        AssetError: it cannot be read, or not in one certain way; the text names the file.
    """
    try:
        if not path.is_file():
            raise _Refused("there is no such file" if not path.exists() else "it is no file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of size, which is looked at here, and of tags nobody needs
            return _rgb(path)
    except _Refused as refused:
        raise AssetError(f"cannot read the picture {path}: {refused}") from None
    except UnidentifiedImageError:
        known = "JPEG, PNG, WebP, BMP, TIFF or GIF"
        raise AssetError(f"cannot read the picture {path}: it is no complete {known} file") from None
    except Image.DecompressionBombError:
        reason = f"it says that it has far more than the {MOST_PIXELS} pixels that can be held"
        raise AssetError(f"cannot read the picture {path}: {reason}; make it smaller") from None
    except Exception as error:  # decoders raise what they like at damaged files
        reason = in_a_line(error, 200) or type(error).__name__
        raise AssetError(f"cannot read the picture {path}: it is damaged ({reason})") from error


def _rgb(path: Path) -> Image.Image:
    with Image.open(path, formats=_FORMATS) as file:
        _check_form(file)
        if file.format == "PNG":
            _check_sums(path)
        bits = _bits(file)
        file.load()
        # After loading: TIFF files are turned by then, and say so no more.
        turn = _TURNED.get(_orientation(file))
        picture = _colors(file, bits)
        return picture if turn is None else picture.transpose(turn)


def _check_form(file: Image.Image) -> None:
    """Raises for what is no single still picture of a size that can be held."""
    width, height = file.size
    if not width or not height:
        raise _Refused(f"it is {width} x {height} pixels")
    if width * height > MOST_PIXELS:
        raise _Refused(f"it has {width} x {height} pixels, and {MOST_PIXELS} can be held; make it smaller")
    frames = getattr(file, "n_frames", 1)
    if frames > 1 and file.format not in _SEVERAL_SHOWN_AS_ONE:
        raise _Refused(f"it holds {frames} frames or pages; save the one that is meant")


def _check_sums(path: Path) -> None:
    """Raises where a part of a PNG file is not what its sum says, which decoding alone passes over."""
    with Image.open(path, formats=("PNG",)) as file:
        file.verify()


def _orientation(file: Image.Image) -> int:
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged note is none, as for viewers
        return 1


def _bits(file: ImageFile.ImageFile) -> str:
    """Bits per sample as the decoder is told them before it makes eight of them, such as ``4`` or ``16B``."""
    told = [str(tile.args if isinstance(tile.args, str) else (tile.args or [""])[0]) for tile in file.tile]
    return told[0].partition(";")[2] if told else ""


def _colors(file: ImageFile.ImageFile, bits: str) -> Image.Image:
    """A loaded picture as RGB, its transparent parts on the background."""
    if file.mode in _RANGELESS:
        return _of_sixteen_bits(file)
    if file.mode not in _SHOWN:
        raise _Refused(f"its pixels are {file.mode}, which viewers show differently; save it as 8-bit RGB")
    if file.mode in _ALPHA or _has_transparent_color(file, bits):
        front = file.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", front.size, (*BACKGROUND, 255)), front).convert("RGB")
    if file.mode == "CMYK" and file.info.get("icc_profile"):
        return _printed(file)
    return file.convert("RGB")


def _has_transparent_color(file: Image.Image, bits: str) -> bool:
    if "transparency" not in file.info:
        return file.mode == "P" and file.palette is not None and file.palette.mode in ("RGBA", "LA")
    # The file tells that color in its own bits, and the loaded picture has eight.
    if file.format == "PNG" and file.mode != "P" and bits in ("2", "4", "16B"):
        raise _Refused(
            f"it has a transparent color of {bits.rstrip('B')} bits; save it with an alpha channel"
        )
    return True


def _of_sixteen_bits(file: Image.Image) -> Image.Image:
    """Grey of 16 unsigned bits, which a viewer shows by its high byte (here rounded)."""
    plain = file.mode in _SIXTEEN or (file.format == "PNG" and file.mode == "I")
    if file.format == "TIFF":
        tags: Any = getattr(file, "tag_v2", {})
        plain = plain and tuple(tags.get(_BITS, ())) == (16,) and tags.get(_PHOTOMETRIC) == 1
    if not plain or "transparency" in file.info:
        raise _Refused(
            f"its pixels are numbers of kind {file.mode} without a range that viewers agree on; "
            "save it as 8-bit grey or RGB"
        )
    values = numpy.asarray(file).astype(numpy.int64)
    grey = (values * 255 + 32767) // 65535
    return Image.fromarray(grey.astype(numpy.uint8)).convert("RGB")


def _printed(file: Image.Image) -> Image.Image:
    """Inks as RGB by their own profile, or plainly where that is unusable."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(file.info["icc_profile"]))
        seen = ImageCms.profileToProfile(file, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        seen = None
    return file.convert("RGB") if seen is None else seen
