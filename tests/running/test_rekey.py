"""Steps of a store get the ids that they have now, where nothing but ids has changed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT

from benchmark.running.record import looked_through, sealed

sys.path.insert(0, str(ROOT / "tools"))
import rekey_store

Cells = dict[str, dict[str, Any]]


def cells(forge: str, judge: str, reference: str = "r", name: str = "a") -> Cells:
    """A cell whose steps have these ids."""
    steps = [["forge", forge, {"f": forge}], ["reference", reference, {}], ["judge", judge, {"j": judge}]]
    return {name: {"steps": steps, "forge_parts": {"f": forge}}}


def test_a_step_gets_the_id_and_the_parts_that_it_has_now(tmp_path: Path) -> None:
    record = {
        "kind": "judge",
        "id": "old",
        "parts": {"j": "old"},
        "forge_parts": {"f": "before"},
        "pool": ["before"],
        "coordinates": {},
        "started": "",
        **dict.fromkeys(("blame", "reason", "culprit"), ""),
        "status": "ok",
    }
    home = tmp_path / "store" / "judge" / "old"
    home.mkdir(parents=True)
    (home / "record.json").write_text(json.dumps(sealed(record)))
    (home / "tensors.safetensors").write_bytes(b"numbers")
    found = rekey_store.moves(cells("before", "old"), cells("after", "new"))
    assert rekey_store.copied(tmp_path / "store", tmp_path / "out", found) == 1
    place = tmp_path / "out" / "judge" / "new"
    kept = looked_through((place / "record.json").read_bytes(), "judge", "new")
    now = {"id": "new", "parts": {"j": "new"}, "forge_parts": {"f": "after"}, "pool": ["after"]}
    assert kept == {**record, **now}
    assert (place / "tensors.safetensors").read_bytes() == b"numbers"
    assert rekey_store.copied(tmp_path / "store", tmp_path / "out", found) == 0, "it is there already"
    assert rekey_store.copied(tmp_path / "store", tmp_path / "other", found, {"judge"}) == 0, "made anew"


def test_nothing_is_copied_where_more_than_ids_has_changed() -> None:
    with pytest.raises(ValueError, match="what is run has changed"):
        rekey_store.moves(cells("f", "j"), cells("g", "k", reference="other"))
    with pytest.raises(ValueError, match="would have two ids"):
        rekey_store.moves(
            cells("f", "j") | cells("f", "i", name="b"), cells("g", "k") | cells("h", "l", name="b")
        )
    with pytest.raises(ValueError, match="has other steps now"):
        now = cells("f", "j")
        now["a"]["steps"].pop()
        rekey_store.moves(cells("f", "j"), now)


def test_cells_that_are_run_anew_have_to_be_what_they_were(tmp_path: Path) -> None:
    """Then references may have other ids; one byte or one pass of a network more, and they may not."""
    name = json.dumps({"task": "t", "attack": "a", "defense": "d"}, sort_keys=True)
    before, after = cells("f", "j", name=name), cells("g", "k", reference="other", name=name)
    store, fresh = tmp_path / "store", tmp_path / "fresh"

    def write(folder: Path, kind: str, step: str, **changes: Any) -> None:
        record = {"status": "ok", "files": {"x": {"sha256": kind}}, "forwards": 3, "seconds": 1.0, **changes}
        (folder / kind / step).mkdir(parents=True, exist_ok=True)
        (folder / kind / step / "record.json").write_text(json.dumps(record))

    for kind, step, _ in before[name]["steps"]:
        write(store, kind, step)
    chosen = rekey_store.drawn(before, after, store, 5)
    assert len(chosen) == 1
    assert len(rekey_store.differences(chosen, after, store, fresh)) == 3, "nothing was run"
    assert len(rekey_store.differences(chosen, after, store, fresh, {"judge"})) == 2
    for kind, step, _ in after[name]["steps"]:
        write(fresh, kind, step, seconds=2.0)
    assert not rekey_store.differences(chosen, after, store, fresh)
    assert len(rekey_store.moves(before, after, proven=True)) == 3
    for changes in ({"forwards": 4}, {"files": {"x": {"sha256": "other"}}}, {"status": "error"}):
        write(fresh, "judge", "k", **changes)
        (told,) = rekey_store.differences(chosen, after, store, fresh)
        assert told.startswith("judge j of") and next(iter(changes)) in told
    (store / "forge" / "f" / "record.json").unlink()
    assert not rekey_store.drawn(before, after, store, 5), "a cell whose steps are not all there is none"
