"""The same input gives the same archive, byte for byte; what is not what the manifest says is told."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT

from benchmark.commands.cli import main
from benchmark.errors import PotemkinError
from benchmark.publishing.archive import MANIFEST, members, read_manifest, violations, write_archive


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of one published suite; do not write to it."""
    root = tmp_path_factory.mktemp("project")
    for name in ("CITATION.cff", "LICENSE"):
        shutil.copy(ROOT / name, root)
    (root / "tasks").mkdir()
    shutil.copy(ROOT / "tasks/datasets.yaml", root / "tasks")
    shutil.copytree(ROOT / "results/published/smoke", root / "results/published/smoke")
    return root


@pytest.fixture(scope="module")
def archive(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive; do not write to it."""
    path = tmp_path_factory.mktemp("archive") / "a.tar"
    files, forgeries = members(project, ["smoke"], None)
    write_archive(path, files, ["smoke"], forgeries)
    return path


def test_the_same_input_gives_the_same_bytes_whenever_and_whoever(
    project: Path, archive: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "copy")
    for number, file in enumerate(sorted((tmp_path / "copy").rglob("*"), reverse=True)):
        os.utime(file, (number, number))
        if file.is_file():
            file.chmod(0o600)
    files, forgeries = members(tmp_path / "copy", ["smoke"], None)
    write_archive(tmp_path / "other name.tar", files, ["smoke"], forgeries)
    assert (tmp_path / "other name.tar").read_bytes() == archive.read_bytes()


def test_it_holds_boards_samples_forgeries_and_definitions_and_is_sound(project: Path, archive: Path) -> None:
    manifest = read_manifest(archive)
    assert {"CITATION.cff", "LICENSE", "tasks/datasets.yaml"} <= manifest.files.keys()
    own = {f.relative_to(project).as_posix() for f in (project / "results").rglob("*") if f.is_file()}
    assert own <= manifest.files.keys() and any(name.endswith(".npz") for name in own)
    assert manifest.suites == ("smoke",) and manifest.forgeries[0] == 0 < manifest.forgeries[1]
    assert list(violations(archive)) == []
    with tarfile.open(archive) as opened:  # what anyone's tar makes of it
        opened.extractall(archive.parent / "out", filter="data")
    for name in own:
        assert (archive.parent / "out" / name).read_bytes() == (project / name).read_bytes()


def test_forgeries_of_a_store_are_in_it_as_far_as_they_are_there(project: Path, tmp_path: Path) -> None:
    _, (_, wanted) = members(project, ["smoke"], None)
    files, _ = members(project, ["smoke"], None)
    from benchmark.publishing.reading import read_cells

    step = next(one for one in read_cells(project / "results/published/smoke/cells.csv")["forge_id"] if one)
    for name in (step, "0" * 24):  # the latter judges no cell
        (tmp_path / "forge" / name).mkdir(parents=True)
        (tmp_path / "forge" / name / "tensors.safetensors").write_bytes(b"made")
    found, counts = members(project, ["smoke"], tmp_path)
    assert counts == (1, wanted) and found.keys() - files.keys() == {f"forgeries/{step}.safetensors"}


Change = Callable[[str, bytes], list[tuple[str, bytes, bytes]]]


def rewritten(archive: Path, out: Path, change: Change) -> Path:
    """An archive with other members: of each, what ``change`` makes of name and content; with its type."""
    with tarfile.open(archive) as old, tarfile.open(out, "w") as new:
        for member in old:
            opened = old.extractfile(member)
            assert opened is not None
            for name, content, kind in change(member.name, opened.read()):
                made = tarfile.TarInfo(name)
                made.size, made.type = (len(content) if kind == tarfile.REGTYPE else 0), kind
                made.linkname = "/etc/passwd"
                new.addfile(made, io.BytesIO(content))
    return out


REG = tarfile.REGTYPE
BOARD = "results/published/smoke/boards/attacks.csv"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n, c: [(n, c.replace(b"0.5", b"0.6") if n == BOARD else c, REG)], "SHA-256 is another"),
        (lambda n, c: [(n, c + b"x" if n == BOARD else c, REG)], "the manifest says"),
        (lambda n, c: [] if n == BOARD else [(n, c, REG)], f"{BOARD} is missing"),
        (lambda n, c: [(n, c, REG)] * (1 + (n == BOARD)), "is there twice"),
        (lambda n, c: [(n, c, REG), *([("../evil\x1b", c, REG)] if n == BOARD else [])], "no plain file"),
        (lambda n, c: [(n, c, REG), *([("/etc/x", c, REG)] if n == BOARD else [])], "no plain file"),
        (lambda n, c: [(n, c, tarfile.SYMTYPE if n == BOARD else REG)], "no plain file"),
        (lambda n, c: [(n, c, tarfile.FIFOTYPE if n == BOARD else REG)], "no plain file"),
        (lambda n, c: [(n, c, REG), *([("new", c, REG)] if n == BOARD else [])], "not in the manifest"),
    ],
)
def test_what_is_not_what_the_manifest_says_is_told(
    archive: Path, tmp_path: Path, change: Change, said: str
) -> None:
    changed = rewritten(archive, tmp_path / "b.tar", change)
    found = list(violations(changed))
    assert any(said in one for one in found) and all(one.isprintable() for one in found)
    assert main(["archive", "--verify", str(changed)]) == 1


def test_what_is_no_archive_is_refused_in_a_sentence(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = archive.read_bytes()
    other = whole.replace(b'"potemkin": 1', b'"potemkin": 9')
    for number, content in enumerate((b"", b"\x1f\x8b\x08", whole[:100], whole[:700], other, b"a" * 2000)):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        assert main(["archive", "--verify", str(path)]) == 1
        told = capsys.readouterr().err
        assert told.startswith("potemkin: ") and len(told.splitlines()) == 1, told
    assert main(["archive", "--verify", str(tmp_path / "none.tar")]) == 1
    assert "No such file" in capsys.readouterr().err
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: len(whole) // 2])
    assert main(["archive", "--verify", str(cut)]) == 1
    assert "is missing" in capsys.readouterr().err
    moved = rewritten(archive, tmp_path / "m.tar", lambda n, c: [] if n == MANIFEST else [(n, c, REG)])
    with pytest.raises(PotemkinError, match="begins with no MANIFEST"):
        read_manifest(moved)


def test_a_link_among_the_results_is_refused(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    (tmp_path / "copy/results/published/smoke/boards/x.csv").symlink_to("/etc/passwd")
    with pytest.raises(PotemkinError, match=r"x\.csv is a link"):
        members(tmp_path / "copy", ["smoke"], None)


def test_an_archive_whose_files_change_meanwhile_is_not_written(project: Path, tmp_path: Path) -> None:
    growing = tmp_path / "log.csv"
    growing.write_text("a")

    class Files(dict[str, Path]):
        def items(self) -> Any:
            for item in super().items():
                yield item
                growing.write_text("b")

    with pytest.raises(PotemkinError, match="files changed meanwhile"):
        write_archive(tmp_path / "a.tar", Files({"x": growing, "y": growing, "z": growing}), [], (0, 0))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["log.csv"]


def test_the_command_writes_and_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "smoke.tar"
    assert main(["archive", "smoke", "--out", str(out)]) == 0
    assert main(["archive", "--verify", str(out)]) == 0
    assert "nothing amiss" in capsys.readouterr().out
    assert main(["archive", "nothing", "--out", str(out)]) == 1
    assert main(["archive", "smoke", "--out", str(out), "--store", str(tmp_path / "none")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
