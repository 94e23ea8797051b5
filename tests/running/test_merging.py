"""Stores of several machines are joined by content: nothing is lost, and what contradicts is refused."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.errors import PotemkinError
from benchmark.files.writing import CannotWrite
from benchmark.running import merging
from benchmark.running.merging import merge
from benchmark.running.store import KINDS, Store, write_samples, write_tensors

WHERE = {
    "task": "saliency/a",
    "attack": "push\x1b[31m\u202e",
    "defense": "none",
    "mode": "oblivious",
    "seed": 0,
}


def step_id(number: int) -> str:
    return f"{number:024x}"


def put(store: Store, kind: str, number: int, value: float = 0.0, **more: object) -> tuple[str, str]:
    """Puts a step into a store, whose content is a value; returns its key."""
    about = {"status": "ok", "blame": "", "reason": "", "culprit": "", "parts": {}, "started": "2026-01-01"}
    record = {**about, "kind": kind, "id": step_id(number), "coordinates": WHERE, **more}
    aside = store.begin()
    if record["status"] == "ok" and kind == "score":
        write_samples(aside, {"pcc": [value]})
    elif record["status"] == "ok":
        write_tensors(aside, {"inputs": torch.full((4,), value)})
    store.commit(aside, kind, step_id(number), record)
    return kind, step_id(number)


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store, Store]:
    """Two stores, and one that they go into."""
    return Store(tmp_path / "a"), Store(tmp_path / "b"), Store(tmp_path / "into")


def contents(store: Store) -> dict[str, bytes]:
    """All files of the finished steps."""
    found = [file for kind in KINDS for file in sorted((store.folder / kind).rglob("*")) if file.is_file()]
    return {file.relative_to(store.folder).as_posix(): file.read_bytes() for file in found}


def test_all_steps_of_all_stores_are_taken_as_they_are(stores: tuple[Store, Store, Store]) -> None:
    a, b, into = stores
    keys = {put(a, "forge", 1, 1.0), put(b, "judge", 2, 2.0), put(b, "score", 3, 0.3)}
    failed = put(b, "forge", 4, status="timeout", blame="method", culprit="push", reason="too long")
    mine = put(into, "reference", 5, 5.0)
    done = merge([a, b], into)
    assert done.taken == keys | {failed} and not (done.known or done.damaged or done.undone)
    assert contents(into).items() >= (contents(a) | contents(b)).items()
    assert into.record(*failed) == b.record(*failed)
    assert into.record(*mine) is not None


def test_what_several_stores_have_alike_is_taken_once_whatever_the_clock_says(
    stores: tuple[Store, Store, Store],
) -> None:
    a, b, into = stores
    key = put(a, "forge", 1, 1.0, seconds=3.0)
    put(b, "forge", 1, 1.0, seconds=4.0, commit="another")
    done = merge([a, b], into)
    assert (done.taken, done.known) == ({key}, {key})
    again = merge([a, b], into)
    assert (again.taken, again.known) == (frozenset(), {key})
    assert (into.record(*key) or {})["seconds"] == 3.0


@pytest.mark.parametrize(
    "other",
    [
        {"value": 2.0},
        {"status": "timeout", "blame": "method", "culprit": "push"},
        {"value": 1.0, "pool": [step_id(7)]},
    ],
)
@pytest.mark.parametrize("where", ["stores", "into"])
def test_a_contradiction_is_refused_by_name_and_nothing_is_written(
    stores: tuple[Store, Store, Store], other: dict[str, Any], where: str
) -> None:
    a, b, into = stores
    put(a, "judge", 1, 1.0)
    put(a, "forge", 2, 1.0)
    put(b if where == "stores" else into, "judge", 1, **other)
    before = contents(into)
    with pytest.raises(PotemkinError) as refused:
        merge([a, b], into)
    text = str(refused.value)
    assert f"judge/{step_id(1)}" in text and "saliency/a x push" in text
    assert str(a.folder) in text and str(b.folder if where == "stores" else into.folder) in text
    assert text.isprintable() and "\u202e" not in text
    assert contents(into) == before


def test_what_a_machine_failed_in_is_no_contradiction_and_is_left_to_the_next_run(
    stores: tuple[Store, Store, Store],
) -> None:
    a, b, into = stores
    put(a, "forge", 1, status="infra", blame="infra", reason="lost")
    key = put(b, "forge", 1, 1.0)
    lost = put(a, "forge", 2, status="infra", blame="infra", reason="lost")
    put(into, "forge", 1, status="infra", blame="infra", reason="lost")
    done = merge([a, b], into)
    assert (done.taken, done.undone) == ({key}, {lost})
    assert (into.record(*key) or {})["status"] == "ok" and into.record(*lost) is None


@pytest.mark.parametrize("how", ["flipped", "cut", "no record", "a folder"])
def test_a_damaged_step_is_left_out_and_told_and_the_others_are_taken(
    stores: tuple[Store, Store, Store], how: str
) -> None:
    told: list[str] = []
    a, _, into = stores
    b = Store(stores[1].folder, told.append)
    kept, broken = put(a, "forge", 1, 1.0), put(b, "forge", 2, 2.0)
    file = b.path(*broken) / "tensors.safetensors"
    if how == "flipped":
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    elif how == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif how == "no record":
        (b.path(*broken) / "record.json").unlink()
    else:
        file.unlink()
        file.mkdir()
    done = merge([a, b], into)
    assert done.taken == {kept} and into.record(*broken) is None
    assert len(told) == 1 and str(b.path(*broken)) in told[0]
    put(a, "forge", 2, 2.0)
    assert broken in merge([b, a], into).taken


def test_a_full_disk_is_a_sentence_and_the_merge_is_taken_up_later(
    stores: tuple[Store, Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, into = stores
    keys = {put(store, "forge", number, 1.0) for number, store in enumerate((a, b, a, b))}
    whole, written = merging.write_whole, []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        whole(path, content)

    monkeypatch.setattr(merging, "write_whole", full)
    with pytest.raises(CannotWrite, match="No space left on device; free some space"):
        merge([a, b], into)
    assert len(contents(into)) == 4 and not list((into.folder / "tmp").iterdir())
    monkeypatch.undo()
    done = merge([a, b], into)
    assert len(done.taken) == 2 and done.taken | done.known == keys
    assert contents(into) == contents(a) | contents(b)


def test_what_is_no_step_in_a_store_is_not_looked_at(stores: tuple[Store, Store, Store]) -> None:
    a, _, into = stores
    put(a, "forge", 1, 1.0)
    shutil.copytree(a.path("forge", step_id(1)), a.folder / "forge" / "..hostile")
    (a.folder / "judge").write_text("no folder")
    assert len(merge([a], into).taken) == 1
    assert [path.name for path in (into.folder / "forge").iterdir()] == [step_id(1)]
