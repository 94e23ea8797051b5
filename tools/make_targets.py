"""Draws the target pictures and writes them as PNGs: grey ones of 28 pixels, coloured ones of 32 and 224.

Run from the project's root, then record the hashes::

    python tools/make_targets.py
    python tools/update_manifest.py

The cat is scikit-image's picture ``chelsea`` (CC0, Stefan van der Walt): its face.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import skimage
from PIL import Image

SIDE = 28
Pixels = npt.NDArray[np.uint8]
_FACE = (120, 0, 380, 260)
"""Left, upper, right and lower edge of the cat's face."""


def ring() -> Pixels:
    """White, between 6 and 10 pixels from the centre."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(rows, columns)
    return np.where((radius > 6) & (radius < 10), 255, 0).astype(np.uint8)


def cross() -> Pixels:
    """White bars, 20 pixels long and 4 wide."""
    picture = np.zeros((SIDE, SIDE), np.uint8)
    picture[12:16, 4:24] = 255
    picture[4:24, 12:16] = 255
    return picture


def coloured_ring() -> Pixels:
    """Yellow on dark blue, of 32 pixels, between 7 and 11.5 from the centre."""
    rows, columns = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(rows, columns)
    inside = (radius > 7) & (radius < 11.5)
    return np.where(inside[..., None], (255, 200, 0), (0, 40, 120)).astype(np.uint8)


def cat(side: int = SIDE, mode: str = "L") -> Pixels:
    """A natural picture with a full range of grey, or in colours (mode ``RGB``)."""
    folder = Path(skimage.__file__).parent / "data"
    face = Image.open(folder / "chelsea.png").convert(mode).crop(_FACE)
    pixels = np.asarray(face.resize((side, side), Image.Resampling.LANCZOS)).astype(float)
    low, high = pixels.min(), pixels.max()
    full: Pixels = ((pixels - low) / (high - low) * 255).round().astype(np.uint8)
    return full


def main() -> None:
    """Writes every picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tasks/assets/targets"))
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "ring-28": ring(),
        "cross-28": cross(),
        "cat-28": cat(),
        "ring-32": coloured_ring(),
        "cat-32": cat(32, "RGB"),
        "cat-224": cat(224, "RGB"),
    }
    for name, pixels in made.items():
        Image.fromarray(pixels).save(folder / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
