"""Tables of pictures: one file is one picture, however its path is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from benchmark.errors import AssetError
from benchmark.files.class_folders import pictures_by_class
from benchmark.files.tables import pictures_of_table


def table(folder: Path, *rows: str) -> Path:
    """A table of rows, and the pictures that they name."""
    for name in ("p/a.png", "p/b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    file = folder / "table.csv"
    file.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    return file


def test_other_spellings_of_one_path_are_one_picture(tmp_path: Path) -> None:
    file = table(tmp_path, "p/a.png,cat", "./p/a.png,cat", "p/../p//b.png,dog", "p/b.png,dog")
    found = pictures_of_table(file, ("cat", "dog"))
    assert {name: sorted(of) for name, of in found.items()} == {"cat": ["p/a.png"], "dog": ["p/b.png"]}


def test_accents_may_be_written_either_way(tmp_path: Path) -> None:
    file = table(tmp_path, "p/a.png,dog e\u0301", "p/b.png,dog \u00e9")
    assert list(pictures_of_table(file, ("dog \u00e9",))) == ["dog \u00e9"]
    (tmp_path / "folders" / "dog e\u0301").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "folders" / "dog e\u0301" / "a.png")
    assert list(pictures_by_class(tmp_path / "folders", ("dog \u00e9",))) == ["dog \u00e9"]
    (tmp_path / "folders" / "dog \u00e9").mkdir()
    with pytest.raises(AssetError, match="differ by how letters are written"):
        pictures_by_class(tmp_path / "folders", ("dog \u00e9",))


@pytest.mark.parametrize("again", ["./p/a.png", "p/./a.png", "p//a.png", "p/../p/a.png"])
def test_a_picture_of_two_classes_is_told_however_it_is_spelled(again: str, tmp_path: Path) -> None:
    file = table(tmp_path, "p/a.png,cat", f"{again},dog")
    with pytest.raises(AssetError, match=r"line 3: p/a\.png is of class 'cat' above, and 'dog' here"):
        pictures_of_table(file, ("cat", "dog"))
