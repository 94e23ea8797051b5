"""Draws the target pictures and writes them as PNGs of 28 x 28 pixels.

Run from the project's root, then record the hashes::

    python tools/make_targets.py
    python tools/update_manifest.py

The cat is scikit-image's picture ``chelsea`` (CC0, Stefan van der Walt): its face, in grey.
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


def cat() -> Pixels:
    """A natural picture with a full range of grey."""
    folder = Path(skimage.__file__).parent / "data"
    face = Image.open(folder / "chelsea.png").convert("L").crop(_FACE)
    pixels = np.asarray(face.resize((SIDE, SIDE), Image.Resampling.LANCZOS)).astype(float)
    low, high = pixels.min(), pixels.max()
    grey: Pixels = ((pixels - low) / (high - low) * 255).round().astype(np.uint8)
    return grey


def main() -> None:
    """Writes every picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tasks/assets/targets"))
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in (("ring", ring()), ("cross", cross()), ("cat", cat())):
        Image.fromarray(pixels, "L").save(folder / f"{name}-28.png", optimize=True)


if __name__ == "__main__":
    main()
