"""Target pictures are the promised ones, of the network's size and mode, or an error says what to mend."""

from __future__ import annotations

import hashlib
import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from benchmark.errors import AssetError, TaskError
from benchmark.files.assets import locate_root
from benchmark.tasks.targets import load_target, target_names, target_sha256

ROOT = locate_root()
GREY = (1, 4, 6)
COLOUR = (3, 4, 6)


def png(mode: str, size: tuple[int, int] = (6, 4)) -> bytes:
    """A picture of random pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "png")
    return buffer.getvalue()


def project(root: Path, content: bytes, **changes: Any) -> Path:
    """A project whose only target is ``ring``."""
    (root / "tasks").mkdir(exist_ok=True)
    (root / "tasks" / "ring.png").write_bytes(content)
    fields = {
        "picture": "ring.png",
        "picture_sha256": hashlib.sha256(content).hexdigest(),
        "licence": "MIT",
        "origin": "made by a test",
    }
    fields = {key: value for key, value in {**fields, **changes}.items() if value is not None}
    (root / "tasks" / "targets.yaml").write_text(yaml.safe_dump({"ring": fields}))
    return root


def test_the_shipped_targets_load() -> None:
    shipped = ("ring-28", "cross-28", "cat-28", "ring-32", "cat-32", "cat-224")
    assert set(shipped) == set(target_names(ROOT))
    for name in shipped:
        side = int(name.rpartition("-")[2])
        size = (1 if side == 28 else 3, side, side)
        target = load_target(name, ROOT, size)
        assert target.shape == size and target.dtype == torch.float32
        assert 0 <= target.min() < 0.2 and 0.75 < target.max() <= 1
        file = ROOT / "tasks" / "assets" / "targets" / f"{name}.png"
        assert target_sha256(name, ROOT) == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize(("mode", "size"), [("L", GREY), ("RGB", COLOUR)])
def test_pixels_stand_where_they_stood(tmp_path: Path, mode: str, size: tuple[int, int, int]) -> None:
    content = png(mode)
    target = load_target("ring", project(tmp_path, content), size)
    assert target.shape == size
    with Image.open(io.BytesIO(content)) as picture:
        for x in range(6):
            for y in range(4):
                value = picture.getpixel((x, y))
                expected = torch.tensor([value] if isinstance(value, int) else value) / 255
                torch.testing.assert_close(target[:, y, x], expected)


def test_an_unknown_target_is_told_its_nearest_name() -> None:
    with pytest.raises(
        TaskError, match=r"unknown target 'cros-28': did you mean 'cross-28'\? known: .*cat-28"
    ):
        load_target("cros-28", ROOT, (1, 28, 28))
    with pytest.raises(TaskError, match="unknown target"):
        target_sha256("ring-82", ROOT)


@pytest.mark.parametrize(
    ("content", "size", "text"),
    [
        (
            png("L", (5, 4)),
            GREY,
            "target ring: ring.png is 5 x 4 pixels, but the network takes 6 x 4: resize it",
        ),
        (png("L", (4, 6)), GREY, "is 4 x 6 pixels, but the network takes 6 x 4"),
        (png("RGB"), GREY, "target ring: ring.png has mode RGB, .* takes 1 channel: save it as mode L"),
        (png("P"), GREY, "has mode P, .* save it as mode L"),
        (png("P"), COLOUR, "has mode P, .* takes 3 channels: save it as mode RGB"),
        (png("RGBA"), COLOUR, "has mode RGBA, .* save it as mode RGB"),
        (png("1"), GREY, "has mode 1, .* save it as mode L"),
        (png("L"), (2, 4, 6), "pictures have 1 or 3 channels, the network takes 2"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(
    tmp_path: Path, content: bytes, size: tuple[int, int, int], text: str
) -> None:
    with pytest.raises(TaskError, match=text):
        load_target("ring", project(tmp_path, content), size)


def test_a_missing_or_another_file_is_refused(tmp_path: Path) -> None:
    root = project(tmp_path, png("L"), picture_sha256="0" * 64)
    with pytest.raises(AssetError, match=r"ring\.png is not the promised file"):
        load_target("ring", root, GREY)
    (root / "tasks" / "ring.png").unlink()
    with pytest.raises(AssetError, match=r"missing file .*ring\.png"):
        load_target("ring", root, GREY)
    with pytest.raises(AssetError, match="pending"):
        load_target("ring", project(tmp_path, png("L"), picture_sha256="pending"), GREY)


@pytest.mark.parametrize("content", [b"", b"no picture", png("L")[:60], png("L")[:-30]])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(AssetError, match=r"target ring: cannot read ring\.png"):
        load_target("ring", project(tmp_path, content), GREY)


def test_a_byte_that_is_off_never_ends_in_a_traceback(tmp_path: Path) -> None:
    """Any byte of the file, as its manifest promises it."""
    content, refused = png("L"), 0
    for place, value in itertools.product(range(len(content)), (0, 255)):
        damaged = content[:place] + bytes([value]) + content[place + 1 :]
        root = tmp_path / f"{place}-{value}"
        root.mkdir()
        try:
            target = load_target("ring", project(root, damaged), GREY)
        except (AssetError, TaskError):
            refused += 1
        else:
            assert target.shape == GREY and target.min() >= 0 and target.max() <= 1
    assert refused > 50


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"picture": None}, r"targets\.yaml: entry 'ring': picture: missing field"),
        ({"licence": None}, r"targets\.yaml: entry 'ring': licence: missing field"),
        ({"colour": "blue"}, r"targets\.yaml: entry 'ring': colour: unknown field"),
        ({"picture_sha256": "abc"}, r"targets\.yaml: entry 'ring': picture_sha256: "),
    ],
)
def test_a_wrong_entry_is_named_with_its_field(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    with pytest.raises(TaskError, match=text):
        load_target("ring", project(tmp_path, png("L"), **changes), GREY)


def test_a_project_without_targets_says_so(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"cannot read tasks/targets\.yaml"):
        target_names(tmp_path)
