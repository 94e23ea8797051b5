"""Pictures lie in the gallery, whatever the names that they are called by."""

from __future__ import annotations

from pathlib import Path

from benchmark.boards.gallery import picture_file


def test_a_picture_of_any_name_lies_in_the_gallery(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    for name in (
        "saliency/task/../../../../evil-0-1",
        "a/../b-1",
        "a/..-1",
        "/etc/x-1",
        "nul\0-1",
        "../-..",
        "",
    ):
        file = picture_file(folder, name)
        assert file.resolve().is_relative_to(folder) and ".." not in file.parts
    plain = "saliency/task/soft[beta=2]/none-oblivious-0-1234abcd"
    assert picture_file(folder, plain) == folder / f"{plain}.png"
