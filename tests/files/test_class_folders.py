"""Folders of pictures: all of it is used or named, halves share no picture, and hashes follow contents."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmark.errors import AssetError
from benchmark.files import contents
from benchmark.files.class_folders import halve, pictures_by_class
from benchmark.files.contents import content_hashes

TENCH, GOLDFISH, SHARK = "n01440764", "n01443537", "n01484850"


def picture(path: Path, level: int = 99) -> Path:
    """A small picture, in the format of its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {".jpe": "JPEG", ".jfif": "JPEG"}.get(path.suffix.lower())
    Image.fromarray(np.full((12, 12, 3), level, np.uint8)).save(path, format=known)
    return path


def counts(folder: Path) -> dict[str, int]:
    """Pictures of every class."""
    return {name: len(found) for name, found in pictures_by_class(folder).items()}


def test_pictures_deeper_in_a_class_of_any_kind_and_behind_links_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    for name in ("images/0.JPEG", "images/deep/er/1.png", "2.webp"):
        picture(folder / TENCH / name)
    for name in ("0.JPG", "1.bmp", "2.TIF", "3.tiff", "4.jfif", "5.gif", "6.PnG"):
        picture(folder / GOLDFISH / name)
    elsewhere = picture(tmp_path / "elsewhere" / "0.png").parent
    (folder / SHARK).symlink_to(elsewhere, target_is_directory=True)
    (folder / TENCH / "link.png").symlink_to(folder / TENCH / "2.webp")
    (folder / TENCH / "circle").symlink_to(tmp_path / "nowhere")
    for litter in (".DS_Store", "Thumbs.db", f"{TENCH}/.hidden.png", f"{TENCH}/desktop.ini", ".git/config"):
        (folder / litter).parent.mkdir(exist_ok=True)
        (folder / litter).write_bytes(b"x")
    with pytest.raises(AssetError, match=f"{TENCH}/circle would be left out"):
        pictures_by_class(folder)
    (folder / TENCH / "circle").unlink()
    assert counts(folder) == {TENCH: 4, GOLDFISH: 7, SHARK: 1}
    (folder / TENCH / "circle").symlink_to(folder / TENCH, target_is_directory=True)
    with pytest.raises(AssetError, match=f"{TENCH}/circle would be left out"):
        pictures_by_class(folder)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (f"{TENCH}/0.heic", rf"{TENCH}/0\.heic would be left out, since pictures end in \.bmp, "),
        (f"{TENCH}/deep/notes.txt", rf"{TENCH}/deep/notes\.txt would be left out"),
        ("0.png", r"0\.png would be left out, since only class folders are looked into"),
        (f"{SHARK}/", f"no picture is in {SHARK}; fill or remove every empty class folder"),
        ("shark/", r"shark is not named by the WordNet id"),
    ],
)
def test_what_would_be_left_out_is_named(name: str, sentence: str, tmp_path: Path) -> None:
    picture(tmp_path / TENCH / "0.png")
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    else:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(AssetError, match=sentence):
        pictures_by_class(tmp_path)


def test_of_many_left_out_three_are_named_and_all_are_counted(tmp_path: Path) -> None:
    for number in range(9):
        picture(tmp_path / TENCH / f"{number}.png").with_suffix(".txt").write_text("x")
    with pytest.raises(AssetError, match=rf"{TENCH}/0\.txt, \S+, \S+2\.txt and 6 more would be left out"):
        pictures_by_class(tmp_path)


@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5),
    seed=st.integers(0, 99),
    copied=st.dictionaries(st.tuples(st.integers(0, 4), st.integers(0, 8)), st.integers(0, 3), max_size=12),
)
def test_halves_are_disjoint_and_whole_and_never_share_copies(
    sizes: list[int], seed: int, copied: dict[tuple[int, int], int]
) -> None:
    classes = {
        f"class {c}": {f"{n}.png": Path(f"{c}/{n}.png") for n in range(size)} for c, size in enumerate(sizes)
    }
    twins = {Path(f"{c}/{n}.png"): content for (c, n), content in copied.items()}
    first, second = halve(classes, seed, twins)
    paths = [path for _, path in (*first, *second)]
    assert sorted(paths) == sorted(path for group in classes.values() for path in group.values())
    assert not {twins[p] for _, p in first if p in twins} & {twins[p] for _, p in second if p in twins}
    if not twins:
        assert abs(len(first) - len(second)) <= 1


def age(path: Path) -> None:
    """Lets a file look as if it had been there for an hour."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns - 3600 * 10**9, status.st_mtime_ns - 3600 * 10**9))


def test_kept_hashes_are_used_and_a_set_back_date_does_not_hide_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, kept = tmp_path / "a.png", tmp_path / "kept" / "hashes.json"
    file.write_bytes(b"before")
    date = file.stat()
    first = content_hashes([file], kept)
    monkeypatch.setattr(contents, "_SETTLED", -1.0)  # as if it had lain there for a while
    assert content_hashes([file], kept) == first and kept.is_file()

    def unread(path: Path) -> str:
        raise AssertionError(f"{path} was read again")

    with monkeypatch.context() as patched:
        patched.setattr(contents, "_hash", unread)
        assert content_hashes([file], kept) == first
    file.write_bytes(b"after_")
    os.utime(file, ns=(date.st_atime_ns, date.st_mtime_ns))
    assert file.stat().st_mtime_ns == date.st_mtime_ns and file.stat().st_size == date.st_size
    assert content_hashes([file], kept) != first


def test_a_file_that_has_just_changed_is_not_kept(tmp_path: Path) -> None:
    file, kept = tmp_path / "a.png", tmp_path / "hashes.json"
    file.write_bytes(b"before")
    age(file)  # its date, but not the time of that change
    content_hashes([file], kept)
    assert str(file) not in kept.read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"[" * 9999, b'{"A": 1, "B": [[], "x"]}'])
def test_damaged_kept_hashes_do_no_harm(content: bytes, tmp_path: Path) -> None:
    file, kept = tmp_path / "a.png", tmp_path / "hashes.json"
    file.write_bytes(b"x")
    right = content_hashes([file], tmp_path / "none.json")
    kept.write_bytes(content.replace(b"A", str(file).encode()))
    assert content_hashes([file], kept) == right
    assert content_hashes([file], tmp_path / "a.png" / "not a folder.json") == right
