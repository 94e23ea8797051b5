"""A takedown played through: a new attack lands, and board, history, diff and page say who lost what."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from harness import OWN, Project, Result
from site_case import HOSTILE, made_up
from test_changes import THREE, snapshot, standing, taken
from test_site import Page

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

SHOVED = "soft[beta=8]"
SHOVE = "baselines/attacks/shove.py"


def tiny(project: Project) -> Path:
    """Where its suite is published."""
    return project.root / PLACE / "tiny"


def land(project: Project) -> None:
    """A new attack in the results, which moves one hardening further than anything before, and no other."""
    code = OWN["attacks/pull.py"].replace('"pull"', '"shove"').replace("class Pull", "class Shove")
    project.write(SHOVE, code.partition("    def skip")[0])
    folder = project.root / "results" / "tiny"
    cells = pd.read_csv(folder / "cells.csv", dtype=str, keep_default_na=False)
    own = cells[cells["attack"] == "push"].assign(attack="shove", attack_code="5" * 64)
    own["cell_id"] = "5" + own["cell_id"].str[1:]  # its forgeries are those of `push`
    pd.concat([cells, own]).to_csv(folder / "cells.csv", index=False)
    samples = pd.read_parquet(folder / "samples.parquet")
    added = samples[samples["attack"] == "push"].assign(attack="shove")
    added["cell_id"] = "5" + added["cell_id"].str[1:]
    worse = (added["defense"] == SHOVED) & (added["sample_id"] == added["sample_id"].iloc[0])
    added.loc[worse, "manipulation"] = 1.0
    for column in {"told", "truth"} & set(added):
        added.loc[worse, column] = 0.0
    pd.concat([samples, added]).to_parquet(folder / "samples.parquet", index=False)


@pytest.fixture(scope="module")
def landed(published: Project, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Result]:
    """A project that was published, with a new attack since, and published again; do not write to it."""
    project = published.copy(tmp_path_factory.mktemp("landed") / "project")
    land(project)
    result = project.run("publish")
    result.assert_no_traceback()
    assert result.code == 0, result.err
    return project, result


def test_publish_says_who_lost_what_and_keeps_both(landed: tuple[Project, Result]) -> None:
    project, result = landed
    assert f"shove (new) takes {SHOVED} down" in result.out
    first, second = read_history(tiny(project))
    assert first.changes is None and second.changes is not None
    assert first.snapshot.methods.keys() == second.snapshot.methods.keys() - {"shove"}
    assert [one.name for one in second.changes.added] == ["shove"]
    (one,) = [t for t in second.changes.takedowns if t.defense == SHOVED]
    assert (one.attack, one.known) == ("shove", False) and one.after < one.before
    assert one.task and one.sample and one.case_after < one.case_before
    board = pd.read_csv(tiny(project) / "boards" / "hardenings.csv").set_index("hardening")
    rows = {row.name: row for ranking in second.snapshot.boards for row in ranking.rows}
    before = {row.name: row for ranking in first.snapshot.boards for row in ranking.rows}
    assert rows[SHOVED].score == pytest.approx(board.loc[SHOVED, "score"])
    assert rows[SHOVED].score < before[SHOVED].score and rows["soft[beta=2]"] == before["soft[beta=2]"]
    kept = pd.read_csv(tiny(project) / "takedowns.csv")
    assert SHOVED in set(kept["defense"]) and set(kept["attack"]) == {"shove"}


def test_diff_tells_the_same_from_the_history_and_from_samples(
    landed: tuple[Project, Result], published: Project
) -> None:
    project, _ = landed
    by_history = project.call("diff", "tiny@1", "tiny")
    by_samples = project.call("diff", str(tiny(published)), "./results/published/tiny")
    for result in (by_history, by_samples):
        result.assert_no_traceback()
        assert result.code == 0, result.err
        assert "new attack: shove" in result.out
        assert f"shove (new) takes {SHOVED} down" in result.out and "; most on saliency/tiny-" in result.out
    assert by_history.out.splitlines()[2:] == by_samples.out.splitlines()[2:]
    for wrong, said in (
        (("tiny@3", "tiny"), "no entry '3'"),
        (("tiny@ffffffff", "tiny"), "no entry 'ffffffff'"),
        (("tiny", "nothing"), "unknown published suite"),
        (("tiny@", "tiny"), "no entry ''"),
    ):
        result = project.call("diff", *wrong)
        assert result.code == 1 and said in result.err and len(result.err.splitlines()) == 1


def test_the_page_shows_it_newest_first(landed: tuple[Project, Result]) -> None:
    project, _ = landed
    result = project.call("site", "--no-pictures", "--out", "pages")
    assert result.code == 0, result.err
    text = (project.root / "pages" / "tiny" / "history.html").read_text(encoding="utf-8")
    page = Page(text)
    assert text.index('id="entry-2"') < text.index('id="entry-1"')
    rows = [row for table in page.rows.values() for row in table]
    assert any("shove new" in " ".join(row[0].split()) and row[1] == SHOVED for row in rows)
    assert "New attack: shove" in " ".join(page.text.split())
    board = (project.root / "pages" / "tiny" / "saliency.html").read_text(encoding="utf-8")
    assert 'href="history.html"' in board


def test_the_same_publication_again_is_no_new_entry_and_verify_holds_the_history(
    landed: tuple[Project, Result], tmp_path: Path
) -> None:
    project = landed[0].copy(tmp_path / "project")
    again = project.run("publish")
    assert again.code == 0 and "no new entry" in again.out
    assert len(read_history(tiny(project))) == 2
    assert "history" not in project.call("verify", "tiny").err
    file = tiny(project) / HISTORY / "0001.json"
    file.write_text(file.read_text().replace('"number": 1', '"number":  1'))
    result = project.call("verify", "tiny")
    assert result.code == 1 and "0002.json follows another entry" in result.err
    assert project.run("publish").code == 1
    file.unlink()
    assert "0002.json is no. 2, and 0 come before it" in project.call("verify", "tiny").err


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
