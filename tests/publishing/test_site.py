"""The site says what the published files say, its links lead somewhere, and texts stay texts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from harness import ROOT
from site_case import HOSTILE, made_up

from benchmark.errors import PotemkinError
from benchmark.publishing.site.gallery import CAPTIONS, gallery_of
from benchmark.publishing.site.pages import MARK, Site, write_site
from benchmark.publishing.site.reading import RANKED, Published, read_published
from benchmark.publishing.site.rows import board_of
from benchmark.publishing.site.texts import data_script, number, visible
from benchmark.publishing.site.views import pareto
from benchmark.running.registry import find_methods
from benchmark.tasks.task import load_task

PUBLISHED = ROOT / "results" / "published"


class Page(HTMLParser):
    """What a page holds: tags with their attributes, the cells of its tables, all of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.text = ""
        self._table, self._cell = "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.tags.append((tag, named))
        if tag == "table":
            self._table = named.get("id", f"table-{len(self.rows)}")
            self.rows[self._table] = []
        elif tag == "tr" and self._table:
            self.rows[self._table].append([])
        elif tag in ("td", "th") and self._table:
            self.rows[self._table][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._table = ""
        elif tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._table and self._cell:
            self.rows[self._table][-1][-1] += data

    @property
    def ids(self) -> set[str]:
        return {named["id"] for _, named in self.tags if "id" in named}


@pytest.fixture(scope="module")
def suites() -> list[Published]:
    return [read_published(PUBLISHED / name) for name in ("quick", "signature")]


@pytest.fixture(scope="module")
def files(suites: list[Published]) -> dict[str, str]:
    methods = {entry.variant: entry for entry in find_methods(ROOT).entries}
    site = Site(suites, methods, ROOT, {"quick": "all tracks"}, pictures=False)
    return {name: content.decode() for name, content in site.files()}


def _data(script: str) -> dict[str, dict[str, object]]:
    """What a script hands to its page."""
    found = re.findall(r'^\(window\.potemkin \?\?= \{\}\)\["(\w+)"\] = (.*);$', script, re.M)
    return {name: json.loads(value) for name, value in found}


def test_every_published_row_is_on_its_board_with_its_numbers(
    suites: list[Published], files: dict[str, str]
) -> None:
    for suite in suites:
        for track in suite.tracks:
            page = Page(files[f"{suite.suite}/{track}.html"])
            for name, noun in RANKED.items():
                if not (PUBLISHED / suite.suite / "boards" / f"{name}.csv").is_file():
                    continue
                written = pd.read_csv(PUBLISHED / suite.suite / "boards" / f"{name}.csv", dtype=str)
                written = written[written["track"] == track]
                _, *rows = page.rows.get(f"board-{name}", [[]])
                assert len(rows) == len(written)
                shown = {next(w for w in row[1].split() if w != "control"): row for row in rows}
                assert shown.keys() == set(written[noun])
                for row in written.to_dict("records"):
                    score = float(row["score"])  # nan where the field is empty
                    assert shown[str(row[noun])][3] == number(score)
                    if isinstance(row["ci_low"], str):
                        ends = f"[{number(float(row['ci_low']))}, {number(float(row['ci_high']))}]"
                        assert ends in shown[str(row[noun])][4]


def test_rows_of_tasks_and_cells_are_those_of_the_files(
    suites: list[Published], files: dict[str, str]
) -> None:
    for suite in suites:
        cells = _data(files[f"{suite.suite}/cells.js"])["cells"]
        assert isinstance(cells["rows"], list) and isinstance(cells["columns"], list)
        at = cells["columns"].index("cell")
        assert [row[at] for row in cells["rows"]] == suite.cells["cell_id"].tolist()
        for track in suite.tracks:
            tasks = _data(files[f"{suite.suite}/{track}.js"])["tasks"]
            assert isinstance(tasks["rows"], list) and isinstance(tasks["columns"], list)
            at = tasks["columns"].index("score")
            written = pd.read_csv(PUBLISHED / suite.suite / "boards" / "tasks.csv")
            written = written[written["track"] == track]
            shown = [row[at] for row in tasks["rows"]]
            assert shown == pytest.approx(written["score"].tolist(), abs=1e-6, nan_ok=True)


def test_the_answer_is_the_published_one(files: dict[str, str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition("<!-- words: quick/saliency -->")[2].partition("<!-- end -->")[0]
    sentences = [line.removeprefix("* ") for line in block.splitlines() if line.startswith("* ")]
    assert sentences
    for name in ("index.html", "quick/saliency.html"):
        for sentence in sentences:
            assert sentence in Page(files[name]).text


def _targets(files: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    for name, text in files.items():
        if name.endswith(".html"):
            for tag, named in Page(text).tags:
                link = named.get("href" if tag in ("a", "link") else "src", "")
                if link and not link.startswith("data:"):
                    yield name, link, tag


def test_links_lead_somewhere_and_nowhere_else(files: dict[str, str]) -> None:
    static = ROOT / "benchmark/publishing/site"
    for name, link, tag in _targets(files):
        parts = urlsplit(link)
        assert not parts.scheme and not parts.netloc, (name, link)
        to = Path(name).parent.joinpath(unquote(parts.path)) if parts.path else Path(name)
        target = Path(*_normal(to.parts)).as_posix()
        assert target in files or (static / target).is_file(), (name, link)
        if parts.fragment and tag == "a" and not target.endswith("cells.html"):
            assert unquote(parts.fragment) in Page(files[target]).ids, (name, link)


def _normal(parts: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if part == "..":
            found.pop()
        else:
            found.append(part)
    return found


def test_what_strangers_write_shows_as_text(tmp_path: Path) -> None:
    suite = made_up(tmp_path, list(HOSTILE), list(HOSTILE), ["saliency/gradient-32", *HOSTILE[:3]])
    for name, content in Site([suite], {}, ROOT, {"made_up": HOSTILE[0]}, pictures=False).files():
        text = content.decode()
        assert not set(text) & set("\u202e\u2066\x1b\x00"), name
        assert "{{" not in name and len(Path(name).name) < 150
        if name.endswith(".html"):
            page = Page(text)
            assert not [named for tag, named in page.tags if tag == "img" and "onerror" in named]
            scripts = [named.get("src", "") for tag, named in page.tags if tag == "script"]
            assert all(source.endswith(".js") for source in scripts), name
            assert not [key for _, named in page.tags for key in named if key.startswith("on")], name
        else:
            assert "<" not in text
    page = Page(
        next(c for n, c in Site([suite], {}, ROOT, pictures=False).files() if n == "methods.html").decode()
    )
    for name in HOSTILE[:-1]:
        assert visible(name.partition("[")[0]) in page.text


def test_a_script_of_data_is_read_back_as_it_was() -> None:
    value = {"a": ["</script><!--", 'x"\\\u2028', 1.5, float("nan"), None, True]}
    script = data_script("it", value)
    assert "<" not in script and script.isascii()
    assert _data(script)["it"] == {"a": ["</script><!--", 'x"\\\\u2028', 1.5, None, None, True]}


def test_the_front_is_what_no_other_beats() -> None:
    assert pareto([(0, 1), (1, 0), (0.5, 0.5), (0.4, 0.4), (1, 0)]) == [0, 1, 2, 4]
    assert pareto([(0, 0), (0, 1), (1, 1)]) == [2]
    assert pareto([]) == []


def test_controls_stand_where_their_scores_put_them_and_ties_share_a_letter() -> None:
    board = board_of("hardenings", read_published(PUBLISHED / "quick").board("hardenings", "saliency"))
    own = [row.score for row in board.rows if row.control and row.name != "none"]
    assert own == sorted(own, reverse=True)
    groups: dict[str, list[float]] = {}
    written = read_published(PUBLISHED / "quick").board("hardenings", "saliency").set_index("hardening")
    for row in board.rows:
        if row.tie and not row.control:
            groups.setdefault(row.tie, []).append(written.loc[row.name, "tie_group"])
    assert groups and all(len(set(found)) == 1 for found in groups.values())


def test_a_folder_of_others_is_left_alone_and_an_older_site_is_replaced(
    suites: list[Published], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    site = Site(suites[1:], {}, ROOT, pictures=False)
    with pytest.raises(PotemkinError, match="holds other files"):
        write_site(site, tmp_path / "other")
    folder = tmp_path / "site"
    write_site(site, folder)
    (folder / MARK).write_text((folder / MARK).read_text() + "\nold.html\n../other/mine.txt")
    (folder / "old.html").write_text("old")
    assert write_site(site, folder) < 5e6
    assert not (folder / "old.html").exists() and (tmp_path / "other" / "mine.txt").exists()
    assert (folder / "static/vendor/dataTables.LICENSE.txt").is_file()


def test_pictures_are_of_published_forgeries_under_every_hardening() -> None:
    suite = read_published(PUBLISHED / "smoke")
    methods = {entry.variant: entry for entry in find_methods(ROOT).entries}
    tables = {name: suite.board(name, "saliency") for name in RANKED}
    boards = [board_of(name, table) for name, table in tables.items() if len(table)]
    gallery = gallery_of(suite, load_task("saliency/smoke-gradient", ROOT), boards, methods, ROOT)
    assert gallery is not None and "dombrowski" in gallery.attacks
    hardenings = [r.name for r in boards[1].rows if not r.control or r.name == "none"]
    for strip in gallery.strips:
        assert [row.defense for row in strip.rows] == hardenings
        for row in strip.rows:
            assert [caption for caption, _ in row.pictures] == list(CAPTIONS)
            assert all(source.startswith("data:image/png;base64,") for _, source in row.pictures)
