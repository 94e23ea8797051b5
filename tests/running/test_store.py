"""What is in the store is complete, whatever was killed."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from benchmark.files.writing import CannotWrite
from benchmark.running.record import Record, counted
from benchmark.running.store import Store, StoreDamaged, release, write_samples, write_tensors


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def a_record(status: str = "ok", **more: object) -> Record:
    """A record as a run makes it, as far as the store looks at it."""
    about = {"blame": "" if status == "ok" else "method", "reason": "", "culprit": "", "parts": {}}
    return {**about, "coordinates": {}, "started": "2026-01-01", "status": status, **more}


def put(store: Store, kind: str, name: str, **more: object) -> Record:
    """Puts a step into the store, with what belongs beside its record; returns the record."""
    aside = store.begin()
    if kind == "score":
        write_samples(aside, {"pcc": [0.25, 0.5]})
    else:
        write_tensors(aside, {"inputs": torch.arange(6.0).reshape(2, 3)})
    store.commit(aside, kind, name, a_record(**more))
    found = store.record(kind, name)
    assert found is not None
    return found


def test_nothing_is_in_a_new_store(store: Store) -> None:
    assert store.record("forge", "a") is None
    assert list(store.records("forge")) == []
    store.sweep()
    assert not store.folder.exists(), "looking changes nothing"


def test_a_store_below_what_is_no_folder_has_nothing_and_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    told: list[str] = []
    assert Store(tmp_path / "file" / "store", told.append).record("forge", "0" * 24) is None
    assert not told


def test_a_committed_step_is_read_as_it_was_written(store: Store) -> None:
    aside = store.begin()
    tensors = {"inputs": torch.rand(3, 2, requires_grad=True), "labels": torch.arange(3).flip(0)}
    write_tensors(aside, tensors)
    assert store.record("forge", "a") is None, "a step that is begun is not there yet"
    record = a_record(seconds=0.1 + 0.2)
    store.commit(aside, "forge", "a", record)
    found = store.record("forge", "a")
    assert found is not None
    assert list(found.pop("files")) == ["tensors.safetensors"]
    assert found == record
    for name, tensor in store.tensors("forge", "a").items():
        assert torch.equal(tensor, tensors[name])
    assert list((store.folder / "tmp").iterdir()) == []


def test_samples_keep_full_precision(store: Store) -> None:
    aside = store.begin()
    columns = {"pcc": [0.1, 1 / 3, 1e-300], "missing": [None, None, None], "violated": ["", "linf", ""]}
    write_samples(aside, columns)
    store.commit(aside, "score", "a", a_record())
    assert store.samples("a") == columns


def test_a_step_that_is_run_again_replaces_the_old_one_whole(store: Store) -> None:
    for status in ("crashed", "ok"):
        aside = store.begin()
        if status == "crashed":
            (aside / "old").write_text("old")
        else:
            write_tensors(aside, {"maps": torch.zeros(1)})
        store.commit(aside, "judge", "a", a_record(status))
    assert (store.record("judge", "a") or {})["status"] == "ok"
    assert not (store.path("judge", "a") / "old").exists()
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_sweep_removes_what_the_dead_left_and_nothing_else(store: Store) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    mine = store.begin()
    orphan = store.folder / "tmp" / f"{dead.pid}-abc"
    orphan.mkdir()
    (orphan / "tensors.safetensors").write_bytes(b"half")
    for name in ("strange", "\u00b2-abc", f"{10**30}-abc"):  # no numbers of a process
        (store.folder / "tmp" / name).mkdir()
    store.sweep()
    assert list((store.folder / "tmp").iterdir()) == [mine]


def test_a_discarded_step_leaves_nothing(store: Store) -> None:
    aside = store.begin()
    store.discard(aside)
    store.discard(aside)
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_folder_says_whose_it_is(store: Store) -> None:
    assert store.begin().name.startswith(f"{os.getpid()}-")


def test_records_of_a_kind_come_in_a_fixed_order(store: Store) -> None:
    for name in ("b", "a", "c"):
        put(store, "judge", name, id=name)
    put(store, "forge", "d", id="d")
    assert [record["id"] for record in store.records("judge")] == ["a", "b", "c"]


def test_a_folder_without_a_record_is_not_a_step(store: Store) -> None:
    store.path("judge", "a").mkdir(parents=True)
    assert store.record("judge", "a") is None
    assert list(store.records("judge")) == []


def test_a_slice_and_its_whole_can_be_stored_side_by_side(store: Store) -> None:
    aside, whole = store.begin(), torch.rand(4, 3)
    write_tensors(aside, {"whole": whole, "part": whole[1:3], "turned": whole.T})
    store.commit(aside, "forge", "a", a_record())
    found = store.tensors("forge", "a")
    assert torch.equal(found["part"], whole[1:3]) and torch.equal(found["turned"], whole.T)


@pytest.mark.parametrize("version", ["2.15.0+cu132", "2.15.0+cpu", "2.15.0"])
def test_a_build_of_torch_is_no_other_release(version: str) -> None:
    assert release(version) == "2.15.0"


# A file that is not what was written: the step counts as missing, and one line names the file.

FILES = {"forge": "tensors.safetensors", "score": "samples.json"}
HARM: dict[str, Callable[[Path], object]] = {
    "emptied": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "cut to its beginning": lambda file: file.write_bytes(file.read_bytes()[:20]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b" {"),
    "gone": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a link to nowhere": lambda file: (file.unlink(), file.symlink_to("nowhere")),
    "something else": lambda file: file.write_bytes(b"[1, 2]"),
    "no text": lambda file: file.write_bytes(b"\xff" * 40),
    "deep": lambda file: file.write_bytes(b"[" * 100_000),
}


def told(store: Store) -> tuple[Store, list[str]]:
    """The same store as another command sees it, and what it is told of damage."""
    lines: list[str] = []
    return Store(store.folder, lines.append), lines


@pytest.mark.parametrize("sealed", [True, False], ids=["now", "older release"])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("harm", HARM)
def test_a_damaged_step_counts_as_missing_and_is_told_once(
    harm: str, kind: str, sealed: bool, store: Store
) -> None:
    put(store, kind, "whole")
    for name in ("record.json", FILES[kind]):
        put(store, kind, name)
        file = store.path(kind, name) / "record.json"
        if not sealed:
            old = json.loads(file.read_text())
            file.write_text(json.dumps({k: v for k, v in old.items() if k not in ("files", "record_sha256")}))
        HARM[harm](store.path(kind, name) / name)
        seen, lines = told(store)
        assert seen.record(kind, name) is None
        assert len(list(seen.records(kind))) == len(list(seen.folder.joinpath(kind).iterdir())) - 1
        (line,) = lines
        assert str(store.path(kind, name) / name) in line and "potemkin run" in line
        with pytest.raises(StoreDamaged):
            seen.tensors(kind, name) if kind == "forge" else seen.samples(name)
        put(store, kind, name)  # a run makes it again


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_is_noticed_when_the_step_is_read(seed: int, store: Store) -> None:
    draw = random.Random(seed)
    kind = draw.choice(sorted(FILES))
    put(store, kind, "a", seconds=1.5, forwards=64)
    file = store.path(kind, "a") / draw.choice(["record.json", FILES[kind]])
    content = bytearray(file.read_bytes())
    at = draw.randrange(len(content))
    content[at] ^= 1 << draw.randrange(8)
    file.write_bytes(content)
    seen, _ = told(store)
    with pytest.raises(StoreDamaged, match=file.name):
        seen.tensors(kind, "a") if kind == "forge" else seen.samples("a")


RECORDS = {
    "null": None,
    "a number": 1,
    "a list": [],
    "empty": {},
    "without parts": {"status": "ok", "blame": "", "reason": "", "culprit": ""},
    "of another step": a_record(kind="judge"),
    "an unknown status": a_record("excellent"),
    "a list for a text": a_record(reason=["x"]),
    "a number for parts": a_record(parts=3),
    "numbers in parts": a_record(parts={"attack": 3}),
    "a text for files": a_record(files="x"),
    "a list in files": a_record(files={"tensors.safetensors": []}),
}


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_no_record_counts_as_missing(name: str, store: Store) -> None:
    put(store, "forge", "a")
    (store.path("forge", "a") / "record.json").write_text(json.dumps(RECORDS[name]))
    seen, lines = told(store)
    assert seen.record("forge", "a") is None and len(lines) == 1


def test_a_number_of_many_digits_is_no_traceback(store: Store) -> None:
    put(store, "forge", "a")
    (store.path("forge", "a") / "record.json").write_text('{"status": "ok", "forwards": ' + "9" * 5000 + "}")
    assert told(store)[0].record("forge", "a") is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3),
        (0.25, 0.25),
        (10**400, 2.0**53),
        (float("inf"), 2.0**53),
        (float("nan"), None),
        (-1, None),
        (True, None),
        ("5", None),
        ([5], None),
        (None, None),
    ],
)
def test_counts_are_numbers_of_a_bounded_size(value: object, expected: float | None) -> None:
    assert counted(value) == expected


def test_the_same_step_of_two_runs_is_kept_as_it_was_first(store: Store) -> None:
    first = put(store, "forge", "a", seconds=1.0)
    assert put(store, "forge", "a", seconds=2.0) == first
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_lost_step_is_replaced(store: Store) -> None:
    put(store, "forge", "a", seconds=1.0)
    store.lose(StoreDamaged(("forge", "a"), "it is damaged"))
    assert store.record("forge", "a") is None and store.damaged
    assert put(store, "forge", "a", seconds=2.0)["seconds"] == 2.0
    assert not store.damaged


def test_files_have_the_mode_that_the_umask_says(store: Store) -> None:
    before = os.umask(0o027)
    try:
        put(store, "forge", "a")
        put(store, "score", "a")
    finally:
        os.umask(before)
    files = [file for kind in FILES for file in store.path(kind, "a").iterdir()]
    assert len(files) == 4
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}


@pytest.fixture
def little_space() -> Iterator[None]:
    """Files may take 4 kB: what a write meets on a full disk, as an error and not as a signal."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.usefixtures("little_space")
def test_what_does_not_fit_is_a_sentence_and_nothing_is_counted(store: Store) -> None:
    aside = store.begin()
    with pytest.raises(CannotWrite, match=r"tensors\.safetensors cannot be written: .*; .*--store"):
        write_tensors(aside, {"inputs": torch.zeros(4096)})
    assert list(aside.iterdir()) == [], "left half-written"


def test_a_store_in_place_of_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CannotWrite, match=r"taken.* cannot be written: Not a directory; a folder is needed"):
        Store(tmp_path / "taken").begin()
