"""A takedown played through: a new attack lands, and board, history, diff and page say who lost what.

The data is the project's own: what is published of `smoke`, first without its strongest attack, then with it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from harness import ROOT
from site_case import HOSTILE, made_up
from test_changes import THREE, snapshot, standing, taken
from test_site import Page

from benchmark.commands import differing, publishing, site
from benchmark.commands.cli import main
from benchmark.errors import PotemkinError
from benchmark.publishing.changes import Told, changes
from benchmark.publishing.history import (
    HISTORY,
    append,
    history_violations,
    keep_replaced,
    read_history,
    with_present,
)
from benchmark.publishing.published import PLACE
from benchmark.publishing.site.pages import Site
from benchmark.running.registry import find_methods

LANDS, LOST = "dombrowski", "smoothing_gap"
TABLES = ("cells.csv", "samples.parquet")


def results(root: Path, without: str = "") -> None:
    """A finished run of `smoke`: the published one, without one of the attacks."""
    folder, source = root / "results" / "smoke", ROOT / PLACE / "smoke"
    folder.mkdir(parents=True, exist_ok=True)
    cells = pd.read_csv(source / TABLES[0], dtype=str, keep_default_na=False)
    cells[cells["attack"] != without].to_csv(folder / TABLES[0], index=False)
    samples = pd.read_parquet(source / TABLES[1])
    samples[samples["attack"] != without].to_parquet(folder / TABLES[1], index=False)


def publish(root: Path, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    """``potemkin publish smoke``: what it says."""
    assert main(["publish", "smoke", "--out", str(root / "results")]) == code
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return told.out + told.err


@pytest.fixture(scope="module")
def commands() -> Iterator[pytest.MonkeyPatch]:
    """The commands, with the project's methods and without the store, which alone has forged images."""
    methods = find_methods(ROOT)
    with pytest.MonkeyPatch.context() as patch:
        for module in (differing, site):
            patch.setattr(module, "find_methods", lambda root: methods)
        patch.setattr(publishing, "find_methods", lambda root: methods)
        patch.setattr(publishing, "gathered", lambda cells, store, held: {})
        yield patch


def at(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Makes a folder the project that commands are about."""
    for module in (differing, publishing, site):
        patch.setattr(module, "locate_root", lambda: root)


@pytest.fixture(scope="module")
def landed(commands: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project that published without an attack, and then with it, and what it said; do not write to it."""
    root = tmp_path_factory.mktemp("landed")
    (root / "tasks").symlink_to(ROOT / "tasks")
    at(commands, root)
    results(root, without=LANDS)
    assert main(["publish", "smoke", "--out", str(root / "results")]) == 0
    shutil.copytree(root / PLACE / "smoke", root / "first" / "smoke")
    results(root)
    said: list[str] = []
    commands.setattr(publishing, "print", lambda *words: said.append(" ".join(words)), raising=False)
    assert main(["publish", "smoke", "--out", str(root / "results")]) == 0
    commands.delattr(publishing, "print")
    return root, "\n".join(said)


def test_publish_says_who_lost_what_and_keeps_both(landed: tuple[Path, str]) -> None:
    root, said = landed
    folder = root / PLACE / "smoke"
    first, second = read_history(folder)
    assert first.changes is None and second.changes is not None
    assert first.snapshot.methods.keys() == second.snapshot.methods.keys() - {LANDS}
    assert [one.name for one in second.changes.added] == [LANDS]
    lost = {t.defense for t in second.changes.takedowns if t.track == "saliency"}
    assert LOST in lost and not second.changes.untold
    was, now = (
        {(r.track, row.name): row for r in e.snapshot.boards for row in r.rows} for e in (first, second)
    )
    for one in second.changes.takedowns:
        assert (one.attack, one.known) == (LANDS, False) and one.after < one.before and one.cases >= 1
        assert one.task.partition("/")[0] == one.track and one.case_after < one.case_before
        assert f"{LANDS} (new) takes {one.defense} down" in said
        board = pd.read_csv(folder / "boards" / f"{one.kind}s.csv")
        board = board[board["track"] == one.track].set_index(one.kind)
        before, after = (rows[one.track, one.defense].score for rows in (was, now))
        assert before is not None and after is not None and after < before
        assert after == pytest.approx(board.loc[one.defense, "score"])
        assert (one.before, one.after) == pytest.approx((before, after))
    kept = pd.read_csv(folder / "takedowns.csv")
    assert len(kept) == len(second.changes.takedowns) and set(kept["attack"]) == {LANDS}
    assert "history: entry 2" in said


def test_diff_tells_the_same_from_the_history_and_from_samples(
    landed: tuple[Path, str], commands: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, _ = landed
    at(commands, root)
    told = []
    for words in (("smoke@1", "smoke"), (str(root / "first" / "smoke"), "smoke")):
        assert main(["diff", *words]) == 0
        told.append(capsys.readouterr().out.splitlines())
    assert told[0] == told[1]
    assert f"new attack: {LANDS}" in told[0]
    assert any(f"{LANDS} (new) takes {LOST} down" in line and "; most on" in line for line in told[0])
    assert main(["diff", "smoke", "smoke@2"]) == 0
    assert "nothing changed" in capsys.readouterr().out
    for words, said in (
        (("smoke@3", "smoke"), "no entry '3'"),
        (("smoke@ffffffff", "smoke"), "no entry 'ffffffff'"),
        (("smoke", "nothing"), "unknown published suite"),
        (("smoke@", "smoke"), "no entry ''"),
        (("./nowhere", "smoke"), "no such folder"),
    ):
        assert main(["diff", *words]) == 1
        err = capsys.readouterr().err
        assert said in err and len(err.splitlines()) == 1


def test_the_page_shows_it_newest_first(
    landed: tuple[Path, str], commands: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    at(commands, landed[0])
    assert main(["site", "--no-pictures", "--out", str(tmp_path / "pages")]) == 0
    text = (tmp_path / "pages" / "smoke" / "history.html").read_text(encoding="utf-8")
    page = Page(text)
    assert text.index('id="entry-2"') < text.index('id="entry-1"')
    rows = [row for table in page.rows.values() for row in table]
    assert any(row[0].split() == [LANDS, "new"] and row[1] == LOST for row in rows)
    assert f"New attack: {LANDS}" in " ".join(page.text.split())
    board = (tmp_path / "pages" / "smoke" / "saliency.html").read_text(encoding="utf-8")
    assert 'href="history.html"' in board and f"methods/{LANDS}.html" in text


def test_the_same_publication_again_is_no_new_entry_and_damage_is_refused(
    landed: tuple[Path, str], commands: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(landed[0], root, symlinks=True)
    at(commands, root)
    folder = root / PLACE / "smoke"
    assert "no new entry" in publish(root, capsys)
    assert len(read_history(folder)) == 2 and list(history_violations(folder)) == []
    cells = folder / TABLES[0]
    cells.write_bytes(cells.read_bytes() + b"\n")
    assert "is not what is published" in next(history_violations(folder))
    file = folder / HISTORY / "0001.json"
    file.write_text(file.read_text().replace('"number": 1', '"number":  1'))
    assert "0002.json follows another entry" in next(history_violations(folder))
    assert "0002.json follows another entry" in publish(root, capsys, 1)
    file.unlink()
    assert "0002.json is no. 2, and 0 come before it" in next(history_violations(folder))


def test_what_was_published_before_histories_is_kept_when_it_is_replaced(tmp_path: Path) -> None:
    before, after = snapshot(THREE), snapshot([*THREE, standing("d", 4)], samples_sha256="1")
    entries = keep_replaced(tmp_path, [], before)
    found = changes(before, after, Told([taken("a", "d")]))
    entries = append(tmp_path, entries, after, found)
    assert [e.number for e in entries] == [1, 2] and entries == read_history(tmp_path)
    assert keep_replaced(tmp_path, entries, after) == entries
    cut = keep_replaced(tmp_path, entries, snapshot(THREE, samples_sha256="2"))  # a publish that was cut off
    assert len(cut) == 3 and cut[-1].changes is not None and cut[-1].changes.untold


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no entry of a history"),
        (b"\xff\xfe", "no entry of a history"),
        (b"[1, 2]", "no entry of a history"),
        (b'{"number": "1"}', "no entry of a history"),
        (b"{" * 100_000, "no entry of a history"),
        (b'{"number": 1, "previous": "", "=1+1\x1b": 1}', "no entry of a history"),
    ],
)
def test_a_damaged_entry_is_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / HISTORY).mkdir()
    (tmp_path / HISTORY / "0001.json").write_bytes(content)
    with pytest.raises(PotemkinError, match=said) as caught:
        read_history(tmp_path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600
    assert list(history_violations(tmp_path)) == [str(caught.value)]


def test_the_page_of_a_hostile_history_shows_texts(tmp_path: Path) -> None:
    suite = made_up(tmp_path, list(HOSTILE), ["b"], ["saliency/x"])
    before = snapshot([standing("</li><b>", 1)], samples_sha256="other", torch="<i>")
    append(tmp_path, [], before, None)
    (entry,) = with_present(suite)[1:]
    assert entry.changes is not None and entry.changes.untold
    found = changes(before, entry.snapshot, Told([taken(name, name) for name in HOSTILE]))
    append(tmp_path, read_history(tmp_path), entry.snapshot, found)
    pages = dict(Site([suite], {}, tmp_path, pictures=False).files())
    text = pages["made_up/history.html"].decode()
    assert not set(text) & set("\u202e\u2066\x1b\x00")
    page = Page(text)
    assert not {"b", "i", "img"} & {tag for tag, _ in page.tags}
    assert "</li><b>" in page.text and HOSTILE[0] in page.text


def test_an_entry_is_small() -> None:
    """Measured on what a publication of a hundred methods on four boards takes."""
    rows = [standing(f"method_{i}[setting={i}]", i + 1) for i in range(100)]
    made = snapshot(rows)
    assert len(made.model_dump_json()) < 40_000
