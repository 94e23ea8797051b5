"""A stranger's folder is walked and nothing followed; names of strangers make no paths and no escapes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.errors import MethodError
from benchmark.files.folders import code_below, files_below, submissions
from benchmark.files.names import is_printable, safe_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A submission's folder as it should be."""
    made = tmp_path / "submissions" / "mine"
    (made / "parts" / "__pycache__").mkdir(parents=True)
    for name in ("method.py", "__init__.py", "card.yaml", "parts/more.py", "parts/__pycache__/more.pyc"):
        (made / name).write_text("x = 1\n")
    return made


def test_a_plain_folder_is_listed(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in files_below(folder)]
    assert names == ["__init__.py", "card.yaml", "method.py", "parts/__pycache__/more.pyc", "parts/more.py"]
    assert [path.name for path in code_below(folder)] == ["method.py", "more.py"]


def _socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("s")
    finally:
        os.chdir(here)


def _deep(folder: Path) -> None:
    (folder / "/".join("d" * 20)).mkdir(parents=True)


def _many(folder: Path) -> None:
    for number in range(10_001):
        os.mknod(folder / "parts" / f"{number}")


def _large(folder: Path) -> None:
    for number in range(9):
        with (folder / f"forgeries-{number}.safetensors").open("wb") as file:
            file.truncate(2**29)


def _holes(folder: Path) -> None:
    with (folder / "data").open("wb") as file:
        file.truncate(2**28 + 1)


def _code_files(folder: Path) -> None:
    for number in range(33):
        (folder / f"part{number}.py").touch()


def _long_code(folder: Path) -> None:
    (folder / "table.py").write_bytes(b"#" * 2**21)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda f: (f / "weights.safetensors").symlink_to("/proc/self/mem"),
            "mine/weights.safetensors is a link",
        ),
        (lambda f: (f / "parts" / "etc").symlink_to("/etc"), "mine/parts/etc is a link"),
        (lambda f: (f / "same").symlink_to("method.py"), "mine/same is a link"),
        (lambda f: (f / "circle").symlink_to("circle"), "mine/circle is a link"),
        (lambda f: (f / "nowhere.py").symlink_to("nothing"), "mine/nowhere.py is a link"),
        (
            lambda f: (f / "x" / "__pycache__").parent.mkdir() or (f / "x" / "__pycache__").symlink_to("/"),
            "is a link",
        ),
        (lambda f: os.mkfifo(f / "helper.py"), "mine/helper.py is a pipe"),
        (_socket, "mine/s is a socket"),
        (_deep, "folders deep"),
        (_many, "more than 10000 files"),
        (_large, "holds .safetensors files of more than 4096 MiB"),
        (_holes, "holds files of more than 256 MiB"),
        (lambda f: (f / "x.pyc").touch(), "mine/x.pyc is compiled: put the code itself there"),
        (_code_files, "more than 32 Python files"),
        (_long_code, "mine/table.py is larger than 128 KiB"),
        (lambda f: (f / "a\nb.py").touch(), "cannot be shown: rename it"),
        (lambda f: (f / "\x1b[2J").touch(), "cannot be shown: rename it"),
        (lambda f: Path(os.fsdecode(os.fsencode(f) + b"/\xff\xfe")).touch(), "cannot be shown: rename it"),
        (lambda f: (f / "\u202ex").touch(), "cannot be shown: rename it"),
        (lambda f: (f / ("x" * 200)).touch(), "too long"),
    ],
)
def test_what_is_odd_in_a_folder_is_one_sentence(
    spoil: Callable[[Path], None], told: str, folder: Path
) -> None:
    spoil(folder)
    with pytest.raises(MethodError) as raised:
        files_below(folder)
    message = str(raised.value)
    assert told in message and message.isprintable() and len(message) < 400


def test_a_folder_that_is_a_link_is_not_entered(folder: Path) -> None:
    (folder.parent / "other").symlink_to(folder, target_is_directory=True)
    (folder.parent / ".hidden").mkdir()
    assert [path.name for path in submissions(folder.parents[1])] == ["mine", "other"]
    with pytest.raises(MethodError, match="other is a link"):
        code_below(folder.parent / "other")


def test_loose_files_are_code_or_nothing(folder: Path) -> None:
    (folder.parent / "README.md").write_text("x")
    (folder.parent / "loose.py").write_text("x")
    assert code_below(folder.parent / "README.md") == []
    assert code_below(folder.parent / "loose.py") == [folder.parent / "loose.py"]


@pytest.mark.parametrize(
    "text",
    [
        "a\u200d",
        "a\u200db",
        "\u0915\u200d\u200d\u0937",
        "\u200c\u0915",
        "a\u2800b",
        "\u3164",
        "e" + "\u0301" * 3,
        "a\nb",
        "\x1b[2J",
        "\u202e",
        "\udcff",
    ],
)
def test_what_shows_nothing_or_something_else_is_not_printable(text: str) -> None:
    assert not is_printable(text)
    assert is_printable("Zürich, 東京 ∞ e\u0301 \u0915\u094d\u200d\u0937")


@pytest.mark.parametrize(
    "name", ["none", "beta_smoothing[beta=0.8]", "ST-LPIPS", "a[b=1,c=x y]", "mine[sizes=[1, 2]]"]
)
def test_a_plain_name_is_its_own_file_name(name: str) -> None:
    assert safe_name(name) == name


NAMES = st.text() | st.text("./\\a[]\0-~ ", max_size=12) | st.text("a", min_size=100, max_size=300)


@given(NAMES, NAMES)
def test_any_text_is_one_part_of_a_path_and_its_own(first: str, second: str) -> None:
    names = safe_name(first), safe_name(second)
    for name in names:
        assert name and len(name) <= 120 and name.isascii() and name.isprintable()
        assert not set(name) & set("/\\\0") and ".." not in name and not name.startswith((".", "-", " "))
    assert (names[0] == names[1]) == (first == second)
