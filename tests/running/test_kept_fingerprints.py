"""Fingerprints that are kept are those that would be found anew, whatever has happened to tree and file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.running.fingerprint import Code, Root
from benchmark.running.fingerprint.kept import tree_digest

FILES = {
    "benchmark/__init__.py": "",
    "benchmark/maths.py": "def twice(x):\n    return 2 * x\n\ndef thrice(x):\n    return 3 * x\n",
    "benchmark/run.py": "from benchmark.maths import twice\n\ndef run(x):\n    return twice(x)\n",
    "baselines/__init__.py": "",
    "submissions/mine/method.py": "from benchmark.maths import thrice\n",
    "submissions/mine/notes.txt": "hello",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small tree, and a folder for what is kept."""
    for file, text in FILES.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    (tmp_path / "store").mkdir()
    return tmp_path


def parts(root: Path, kept: bool = True) -> list[dict[str, str]]:
    code = Code(root, root / "store" / "kept.json" if kept else None)
    starts = [
        [Root(root / "benchmark/run.py", ("run",))],
        [Root(root / "benchmark/run.py", ("run",)), Root(root / "submissions/mine/method.py")],
    ]
    found = [code.parts(roots) for roots in starts]
    code.keep()
    return found


def test_what_is_kept_is_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts(root)
    assert before == parts(root, kept=False)

    def refuse(*arguments: object) -> None:
        raise AssertionError("was followed anew")

    monkeypatch.setattr(Code, "_closures", refuse)
    assert parts(root) == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("benchmark/maths.py", "def twice(x):\n    return x + x\n"),
        ("submissions/mine/notes.txt", "bye"),
        ("submissions/mine/__pycache__/method.pyc", "compiled"),
        ("submissions/mine/more.py", ""),
        ("benchmark/maths/__init__.py", "def twice(x):\n    return 0\n"),
    ],
)
def test_what_has_changed_is_followed_anew_though_its_date_has_not(root: Path, file: str, text: str) -> None:
    before, path = parts(root), root / file
    path.parent.mkdir(exist_ok=True)
    date = path.stat().st_mtime_ns if path.exists() else 10**18
    path.write_text(text)
    os.utime(path, ns=(date, date))
    after = parts(root)
    assert after == parts(root, kept=False) and after != before
    path.unlink()
    for other, was in FILES.items():
        (root / other).write_text(was)
    assert parts(root) == parts(root, kept=False)


def test_a_large_file_of_the_same_size_and_date_is_noticed(root: Path) -> None:
    large = root / "submissions/mine/table.bin"
    large.write_bytes(b"a" * 2**21)
    before, date = tree_digest(root), large.stat().st_mtime_ns
    large.write_bytes(b"b" * 2**21)
    os.utime(large, ns=(date, date))
    assert tree_digest(root) != before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: "",
        lambda content: "{",
        lambda content: "[]",
        lambda content: json.dumps({**content, "tree": "0" * 64}),
        lambda content: json.dumps({**content, "parts": []}),
        lambda content: json.dumps({**content, "parts": 3}),
        lambda content: json.dumps({**content, "asked": dict.fromkeys(content["asked"], -1)}),
        lambda content: json.dumps({**content, "asked": dict.fromkeys(content["asked"])}),
        lambda content: "[" * 10**5,
    ],
)
def test_a_damaged_file_does_no_harm(root: Path, spoil: Callable[[dict[str, object]], str]) -> None:
    before = parts(root)
    file = root / "store" / "kept.json"
    file.write_text(spoil(json.loads(file.read_text())))
    assert parts(root) == before
    assert parts(root) == before


def test_nothing_is_written_where_there_is_no_folder(root: Path) -> None:
    code = Code(root, root / "nowhere" / "kept.json")
    code.parts([Root(root / "benchmark/run.py", ("run",))])
    code.keep()
    assert not (root / "nowhere").exists()


def test_a_link_counts_as_what_it_leads_to(root: Path) -> None:
    (root / "elsewhere.py").write_text("x = 1\n")
    (root / "benchmark" / "linked.py").symlink_to(root / "elsewhere.py")
    before = tree_digest(root)
    (root / "elsewhere.py").write_text("x = 2\n")
    assert tree_digest(root) != before
