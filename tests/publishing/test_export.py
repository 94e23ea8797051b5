"""Exported boards hold the published numbers, and what strangers write is text in every format."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from board_tables import entry
from harness import ROOT
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from site_case import HOSTILE, made_up

from benchmark.api import Attack, Hardening
from benchmark.commands.cli import main
from benchmark.errors import PotemkinError
from benchmark.publishing.exporting.about import about
from benchmark.publishing.exporting.citations import Reference, own_reference, references
from benchmark.publishing.exporting.tables import BOARDS, tables_of
from benchmark.publishing.exporting.texts import latex, markdown, spreadsheet
from benchmark.publishing.exporting.writing import FORMATS, Document, written
from benchmark.publishing.site.reading import RANKED, Published, read_published
from benchmark.publishing.site.texts import number, visible

PUBLISHED = ROOT / "results" / "published"
NASTY = (
    *HOSTILE,
    "=1+1",
    "\\input{/etc/passwd}",
    "\\write18{id}",
    "}\\end{table}\\immediate",
    "^^5cinput{x}",
    "a & b \\\\ [2em] % c # $d$ ~ _e_",
    "a|b\\|c",
    "[x](javascript:alert(1)) <b>",
    "@misc{x, note={",
    "\r\n\\verb|",
    "-- --- `` '' ?` !`",
    "Müller, Łukasz, 王, \U0001f600",
    "a;=1+1;@x",
)
_TEXTS = (
    *("backslash", "braceleft", "braceright", "asciitilde", "asciicircum", "asciigrave", "less", "greater"),
    *("bar", "endash", "emdash", "quoteleft", "quoteright", "quotedblleft", "quotedblright"),
)
WORDS = {
    *("begin", "end", "caption", "centering", "toprule", "midrule", "bottomrule", "textbf", "cite"),
    *("paragraph", "endhead", "symbol", "ldots", "S", "ss", "o", "O", "ae", "AE", "oe", "OE", "l", "L", "i"),
    *("u", "v", "H", "c", "r", *(f"text{word}" for word in _TEXTS)),
}
"""Commands that may stand in what is written."""
SIGNS = set("#$%&_\\`'^~\"=.")
"""What may stand behind a backslash: special signs, the end of a row, accents."""


def assert_sound_latex(text: str, rows: bool = False) -> None:
    """Printable ASCII, known commands, balanced braces, nothing special bare, as many fields as columns.

    Args:
        text: LaTeX without comments but for lines that begin with one.
        rows: whether it holds tables, where fields are parted, citations tied and a minus is one of math.
    """
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%")).replace("$-$", "")
    assert body.isascii() and body.replace("\n", "").isprintable()
    depth = 0
    for word, sign, plain in re.findall(r"\\(?:([A-Za-z]+)|(.))|(.)", body, re.DOTALL):
        assert not word or word in WORDS, word
        assert not sign or sign in SIGNS, sign
        assert plain not in set("#$%^_") and (rows or plain not in ("&", "~")), plain
        depth += {"{": 1, "}": -1}.get(plain, 0)
        assert depth >= 0
    assert depth == 0
    assert body.count("{") - body.count("}") == 0  # as BibTeX counts, which knows no escapes
    assert len(re.findall(r"\\begin\{", body)) == len(re.findall(r"\\end\{", body))
    for spec, table in re.findall(
        r"\\begin\{(?:tabular|longtable)\}\{([lr]+)\}(.*?)\\bottomrule", body, re.S
    ):
        for row in re.findall(r"^(.*) \\\\$", table, re.M):
            if "\\caption" not in row:
                assert len(re.findall(r"(?<!\\)&", row)) == len(spec) - 1, row
                assert not re.match(r"\s*[\[*]", row)  # else an argument of what ended the row before


_BACK = {
    **{"backslash": "\0", "braceleft": "\1", "braceright": "\2", "asciitilde": "~", "asciicircum": "^"},
    **{"asciigrave": "`", "less": "<", "greater": ">", "bar": "|"},
}


def read_back(text: str) -> str:
    """What LaTeX prints of an escaped text of ASCII."""
    text = re.sub(r"\\symbol\{34\}", '"', text)
    text = re.sub(r"\\text(\w+)\{\}", lambda found: _BACK[found[1]], text)
    text = re.sub(r"\{([\[\]*]?)\}", r"\1", text)
    text = re.sub(r"\\([#$%&_])", r"\1", text)
    return text.translate({0: "\\", 1: "{", 2: "}"})


@given(st.text(st.characters(codec="ascii")))
def test_ascii_in_latex_reads_as_it_was(text: str) -> None:
    assert read_back(latex(text)) == visible(text)


@given(st.text() | st.sampled_from(NASTY))
def test_any_text_is_sound_latex(text: str) -> None:
    shown = latex(text)
    assert_sound_latex(shown)
    assert "\n" not in shown and len(shown) <= 24 * max(len(text), 1)


def test_accents_are_commands_and_other_letters_are_written_out() -> None:
    assert latex("Müller Ł é ß") == '\\"{u}'.join(("M", "ller \\L{} \\'{e} \\ss{}"))
    assert latex("王") == "\\textbackslash{}u738b"
    assert latex("a--b---c") == "a-{}-b-{}-{}-c"


TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


class _Html(HTMLParser):
    """Texts of the cells of tables, and tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


@given(st.text(min_size=1) | st.sampled_from(NASTY))
def test_any_text_is_a_field_of_a_table_of_markdown(text: str) -> None:
    shown = visible(text)
    table = f"| a | b |\n|---|---|\n| {markdown(text)} | x |\n"
    found = _Html(MarkdownIt("commonmark").enable("table").render(table))
    assert [cell.strip() for cell in found.cells[:2]] == ["a", "b"] and len(found.cells) == 4
    assert " ".join(found.cells[2].split()) == " ".join(shown.split()) and found.cells[3].strip() == "x"
    assert found.tags <= TABLE


@given(st.text() | st.sampled_from(NASTY))
def test_no_text_is_a_formula_of_a_spreadsheet(text: str) -> None:
    shown = spreadsheet(text)
    for part in re.split(r"[;,\t|]", shown):  # as some locales part fields
        before, first = re.fullmatch(r"([\s\"']*)(.?).*", part, re.DOTALL).groups()
        assert first not in ("=", "+", "-", "@", "\uff1d") or "'" in before
    assert shown.replace("'", "") == visible(text).replace("'", "")


def test_links_of_texts_are_no_links() -> None:
    for text in ("https://evil.example/x", "www.evil.example", "a <https://x>", "mailto:a@b.c"):
        shown = markdown(text)  # what extensions of Markdown look for is not there
        assert not re.search(r"(?<!\\)://|www\.|mailto:|@", shown)
        assert _Html(MarkdownIt("commonmark").render(shown)).tags == {"p"}


def _document(suite: Published, boards: tuple[str, ...] = (), methods: dict | None = None) -> Document:
    tables = tables_of(suite, boards, variants=True)
    families = [family for table in tables for family in table.methods]
    own = own_reference(ROOT, "c" * 40)
    return Document(tables, about(suite, suite.tracks), references(families, methods or {}), own)


def _with_papers(names: tuple[str, ...]) -> dict:
    """Methods of hostile names, each with a hostile paper."""
    papers = [*NASTY[1:], NASTY[0]]
    kinds = ((Attack, names), (Hardening, [f"{name}!" for name in names]))
    return {
        name: replace(entry("made", kind, paper=paper), name=name, variant=name)
        for kind, own in kinds
        for name, paper in zip(own, papers, strict=True)
    }


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Document:
    names = tuple(name.replace("[", "(") for name in NASTY)  # a bracket begins the settings
    methods = _with_papers(names)
    suite = made_up(
        tmp_path_factory.mktemp("made"),
        list(names),
        [f"{one}!" for one in names],
        ["saliency/x", *HOSTILE[:3]],
    )
    return _document(suite, BOARDS, methods)


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_names_and_papers_are_text_in_every_format(hostile: Document, form: str) -> None:
    text = written(hostile, form)
    controls = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") and c != "\n"}
    assert not controls
    if form == "latex":
        assert_sound_latex(text, rows=True)
        assert "\\input" not in text and "/etc/passwd" in text and len(text.splitlines()) > 50
    elif form == "json":
        boards = json.loads(text)["boards"]
        assert {row["attack"] for one in boards if one["board"] == "attacks" for row in one["rows"]} == {
            name.replace("[", "(") for name in NASTY
        }
    elif form == "csv":
        head, *rows = csv.reader(io.StringIO(text))
        assert all(len(row) == len(head) for row in rows)
        told = [field for row in rows for field in row if not re.fullmatch(r"-?[\d.e-]+", field)]
        assert not [field for field in told if field[:1] in "=+-@" and field]
    else:
        found = _Html(MarkdownIt("commonmark").enable("table").render(text))
        assert found.tags <= {*("h2", "p", "ul", "li", "strong", "b", "pre", "code"), *TABLE}


def test_bibtex_is_balanced_ascii_and_one_entry_a_paper(hostile: Document) -> None:
    entries = hostile.bibtex
    assert entries.isascii()
    depth = 0
    for sign in entries:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    assert depth == 0
    keys = re.findall(r"^@misc\{([\w-]+),$", entries, re.M)
    assert len(keys) == len(set(keys)) == entries.count("\n@misc") + 1
    assert set(keys) == {one.key for one in hostile.cited.values()} | {"potemkin"}
    for line in entries.splitlines():
        assert re.fullmatch(r"@misc\{[\w-]+,|  \w+ = \{.*\},|\}|", line), line


def test_nothing_is_invented_of_a_paper() -> None:
    methods = {
        one.variant: one
        for one in (
            entry("a", Attack, paper="Barni, Kallas, Tondi, ICIP 2019 (arXiv 1902.11237)"),
            entry("b", Attack, paper="after Erhan et al. 2009 and Bareeva et al. 2025"),
            entry("c", Attack, paper="control"),
            entry("d", Attack, paper="ours"),
        )
    }
    found = references(["a", "b", "c", "d", "left"], methods)
    assert found.keys() == {"a", "b"}
    assert found["a"].key.startswith("barni2019-") and found["b"].key.startswith("erhan-")
    assert "eprint = {1902.11237}" in found["a"].bibtex()
    assert "year" not in found["a"].bibtex() and "author" not in found["b"].bibtex()
    named = Reference("k", "none", "A title", ("Ada Lovelace", "Foo and Bar, Inc."))
    assert "author = {{Ada Lovelace} and {Foo and Bar, Inc.}}" in named.bibtex()


@pytest.fixture(scope="module", params=["quick", "signature"])
def published(request: pytest.FixtureRequest) -> Published:
    return read_published(PUBLISHED / request.param)


def test_csv_holds_every_published_number_in_full(published: Published) -> None:
    rows = list(csv.DictReader(io.StringIO(written(_document(published), "csv"))))
    for board, noun in RANKED.items():
        file = PUBLISHED / published.suite / "boards" / f"{board}.csv"
        if not file.is_file():
            continue
        shown = {(row["track"], row[noun]): row for row in rows if row["board"] == board}
        files = pd.read_csv(file, dtype=str, keep_default_na=False, na_values=[""])
        assert shown.keys() == set(zip(files["track"], files[noun], strict=True))
        for row in files.to_dict("records"):
            for name, mine in (("score", "score"), ("ci_low", "score_low"), ("ci_high", "score_high")):
                told = shown[row["track"], row[noun]][mine]
                assert told == "" if not isinstance(row[name], str) else float(told) == float(row[name])


def test_bold_is_the_first_tie_group_and_what_does_nothing_where_none_is_better(published: Published) -> None:
    for table in tables_of(published, ()):
        board = published.board(table.board, table.track).set_index(RANKED[table.board])
        bold = {line.fields[1] for line in table.lines if line.bold}
        first = set(board.index[board["tie_group"] == 1])
        assert first <= bold and bold - first <= {"none", "never"}
        assert bool(bold) == bool(board["rank"].notna().any())
        if bold - first:  # it does nothing, and no other is told to be better
            assert not first or board.loc[list(first), "rank_low"].min() == 1


def test_latex_and_markdown_hold_the_rows_with_intervals(published: Published) -> None:
    document = _document(published)
    tex, text = written(document, "latex"), written(document, "markdown")
    assert_sound_latex(tex, rows=True)
    assert published.cells["commit"].iloc[0] in tex and published.cells["commit"].iloc[0] in text
    for table in document.tables:
        for line in table.lines:
            name, score = line.fields[1], line.fields[2]
            assert latex(str(name)) in tex and markdown(str(name)) in text
            if score.has_interval:
                ends = f"{number(score.low)}, {number(score.high)}"
                assert f"{{[}}{ends}{{]}}" in tex and f"\\[{ends}\\]" in text


def test_the_setting_says_what_the_run_records() -> None:
    suite = read_published(PUBLISHED / "quick")
    words = " ".join(about(suite, ["saliency"]))
    cells = suite.cells[suite.cells["track"] == "saliency"]
    ran = cells[cells["status"] == "ok"].iloc[0]
    for part in (
        "Suite quick",
        ran["commit"][:12],
        ran["started"][:10],
        "saliency/gradient-32 (version 3)",
        "torch 2.15.0",
    ):
        assert part in words
    assert "attack seeds 0, 1" in words and "16 cases" in words


def test_every_kind_of_board_is_written(published: Published) -> None:
    for board in ("matrix", "tasks", "costs"):
        document = _document(published, (board,))
        assert_sound_latex(written(document, "latex"), rows=True)
        assert all(table.lines for table in document.tables)


def _run(*words: str) -> int:
    return main(["export", *words])


def test_the_command_writes_files_and_refuses_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bib = tmp_path / "a" / "boards.tex", tmp_path / "boards.bib"
    words = ("smoke", "--format", "latex", "--board", "attacks", "--out", str(out), "--bibtex", str(bib))
    assert _run(*words) == 0
    assert "@misc" not in out.read_text() and "@misc{potemkin," in bib.read_text()
    capsys.readouterr()
    for wrong, said in (
        (("nosuch",), "unknown published suite"),
        ((str(tmp_path / "nothing"),), "no such folder"),
        ((str(tmp_path),), "holds no cells.csv"),
        (("smoke", "--track", "=1+1"), "has no track"),
        (("smoke", "--board", "repairs"), "holds no rows of repairs"),
        (("smoke", "--out", str(out / "x")), "cannot be written"),
    ):
        assert _run(*wrong) == 1
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told and len(told.splitlines()) == 1


def test_a_suite_without_boards_is_refused(tmp_path: Path) -> None:
    suite = made_up(tmp_path, ["a"], ["b"], ["saliency/x"])
    empty = Published(suite.suite, tmp_path, suite.cells, {}, pd.DataFrame())
    with pytest.raises(PotemkinError, match="holds no rows"):
        tables_of(empty, ())
