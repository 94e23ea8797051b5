"""How many natural images a task of forged networks holds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy
import pytest
import torch
import yaml
from PIL import Image

from benchmark.tasks.parts import NetworkTask
from benchmark.tracks import networks

PICTURES = {
    **{"source": "folder", "path": "pictures", "resize": 40, "crop": 32, "classes": ["cat", "dog"]},
    **{"licence": "MIT", "origin": "made by a test"},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Forty pictures of two classes."""
    generator = numpy.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            pixels = generator.integers(0, 256, (40, 40, 3), dtype=numpy.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "datasets.yaml").write_text(yaml.safe_dump({"own": PICTURES}))
    return tmp_path


def splits(root: Path, pictures: int | None = None) -> networks.Splits:
    """The splits of a task that says no more than this of its data."""
    task: Any = SimpleNamespace(data="own", pictures=pictures)
    return networks.load_splits(cast(NetworkTask, task), root, torch.device("cpu"), torch.float32)


def test_all_is_read_where_there_is_room(root: Path) -> None:
    found = splits(root)
    assert [len(part.labels) for part in (found.attacker, found.auditor, found.evaluation)] == [20, 5, 15]


@pytest.mark.parametrize("least", [4, 12])
def test_a_task_says_how_many_it_wants_and_every_class_is_among_them(root: Path, least: int) -> None:
    found = splits(root, pictures=least)
    assert len(found.attacker.labels) == least
    assert len(found.auditor.labels) + len(found.evaluation.labels) == least
    assert found.attacker.labels.bincount().tolist() == [least // 2] * 2


def test_no_more_is_read_than_memory_has_room_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "_MOST_BYTES", 6 * 4 * 3 * 32 * 32)
    found = splits(root)
    assert len(found.attacker.labels) == 6
    assert found.attacker.images.untyped_storage().nbytes() == 6 * 4 * 3 * 32 * 32
