"""What is in the store is complete, whatever was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmark.running.store import Store, release, write_samples, write_tensors


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def test_nothing_is_in_a_new_store(store: Store) -> None:
    assert store.record("forge", "a") is None
    assert list(store.records("forge")) == []
    store.sweep()
    assert not store.folder.exists(), "looking changes nothing"


def test_a_committed_step_is_read_as_it_was_written(store: Store) -> None:
    aside = store.begin()
    tensors = {"inputs": torch.rand(3, 2, requires_grad=True), "labels": torch.arange(3).flip(0)}
    write_tensors(aside, tensors)
    assert store.record("forge", "a") is None, "a step that is begun is not there yet"
    store.commit(aside, "forge", "a", {"status": "ok", "seconds": 0.1 + 0.2})
    assert store.record("forge", "a") == {"status": "ok", "seconds": 0.1 + 0.2}
    for name, tensor in store.tensors("forge", "a").items():
        assert torch.equal(tensor, tensors[name])
    assert list((store.folder / "tmp").iterdir()) == []


def test_samples_keep_full_precision(store: Store) -> None:
    aside = store.begin()
    columns = {"pcc": [0.1, 1 / 3, 1e-300], "missing": [None, None, None], "violated": ["", "linf", ""]}
    write_samples(aside, columns)
    store.commit(aside, "score", "a", {})
    assert store.samples("a") == columns


def test_a_step_that_is_run_again_replaces_the_old_one_whole(store: Store) -> None:
    for status in ("crashed", "ok"):
        aside = store.begin()
        if status == "crashed":
            (aside / "old").write_text("old")
        store.commit(aside, "judge", "a", {"status": status})
    assert store.record("judge", "a") == {"status": "ok"}
    assert not (store.path("judge", "a") / "old").exists()
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_sweep_removes_what_the_dead_left_and_nothing_else(store: Store) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    mine = store.begin()
    orphan = store.folder / "tmp" / f"{dead.pid}-abc"
    orphan.mkdir()
    (orphan / "tensors.safetensors").write_bytes(b"half")
    (store.folder / "tmp" / "strange").mkdir()
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
        store.commit(store.begin(), "judge", name, {"id": name})
    store.commit(store.begin(), "forge", "d", {"id": "d"})
    assert [record["id"] for record in store.records("judge")] == ["a", "b", "c"]


def test_a_folder_without_a_record_is_not_a_step(store: Store) -> None:
    store.path("judge", "a").mkdir(parents=True)
    assert store.record("judge", "a") is None
    assert list(store.records("judge")) == []


def test_a_slice_and_its_whole_can_be_stored_side_by_side(store: Store) -> None:
    aside, whole = store.begin(), torch.rand(4, 3)
    write_tensors(aside, {"whole": whole, "part": whole[1:3], "turned": whole.T})
    store.commit(aside, "forge", "a", {})
    found = store.tensors("forge", "a")
    assert torch.equal(found["part"], whole[1:3]) and torch.equal(found["turned"], whole.T)


@pytest.mark.parametrize("version", ["2.15.0+cu132", "2.15.0+cpu", "2.15.0"])
def test_a_build_of_torch_is_no_other_release(version: str) -> None:
    assert release(version) == "2.15.0"
