"""What the tests' own helpers promise."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import made_once


def test_a_shared_folder_is_filled_once_and_again_only_where_that_failed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    made: list[Path] = []

    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise RuntimeError("midway")

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "whole").touch()

    with pytest.raises(RuntimeError, match="midway"):
        made_once("of-a-test", tmp_path_factory, fails)
    first, second = (made_once("of-a-test", tmp_path_factory, make) for _ in range(2))
    assert first == second and made == [first]
    assert [path.name for path in first.iterdir()] == ["whole"], "nothing of the failed one is left"
