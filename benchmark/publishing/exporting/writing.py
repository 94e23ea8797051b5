"""Tables of boards as LaTeX, Markdown, CSV and JSON: with what was run, and what is cited."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.publishing.exporting.citations import Reference, bibliography
from benchmark.publishing.exporting.tables import Field, Line, Number, Table
from benchmark.publishing.exporting.texts import latex, latex_number, markdown, spreadsheet
from benchmark.publishing.site.rows import family_of
from benchmark.publishing.site.texts import number, shortened

FORMATS = ("latex", "markdown", "csv", "json")
_PAGE = 40
"""Rows of a table of LaTeX's that stands on one page."""
_LONGEST = 80
"""Characters of a name or a remark in a table."""


class Markup(str):
    """What is written as it is."""


@dataclass(frozen=True)
class Document:
    """What is written, before its format.

    Args:
        tables: boards.
        about: sentences on what was run.
        cited: what each method cites, by its name; methods without a paper lack.
        own: the benchmark's own entry, or None.
        with_bibtex: whether entries stand in the text.
    """

    tables: Sequence[Table]
    about: Sequence[str]
    cited: Mapping[str, Reference]
    own: Reference | None
    with_bibtex: bool = True

    @property
    def methods(self) -> list[str]:
        """Methods that the tables show."""
        return list(dict.fromkeys(family for table in self.tables for family in table.methods))

    @property
    def bibtex(self) -> str:
        """All entries."""
        return bibliography([*self.cited.values(), *([self.own] if self.own else [])])

    @property
    def uncited(self) -> list[str]:
        """Methods that no paper is known of."""
        return [family for family in self.methods if family not in self.cited]


def written(document: Document, form: str) -> str:
    """The document in one of `FORMATS`."""
    forms: dict[str, Callable[[Document], str]] = {
        "latex": _latex,
        "markdown": _markdown,
        "csv": _csv,
        "json": _json,
    }
    return forms[form](document)


def _latex(document: Document) -> str:
    cited = "This is Potemkin"
    own = f"~\\cite{{{document.own.key}}}" if document.own else ""
    page = _environment(latex).get_template("boards.tex")
    return page.render(
        tables=document.tables,
        about=document.about,
        title=_title,
        limit=_PAGE,
        long=any(len(table.lines) > _PAGE for table in document.tables),
        columns=lambda table: "".join("r" if heading.number else "l" for heading in table.headings),
        cell=partial(_latex_cell, document),
        cited=Markup(f"{cited}{own}. {latex(_uncited(document))}".rstrip()),
        bibtex=document.bibtex.splitlines() if document.with_bibtex else [],
    )


def _latex_cell(document: Document, table: Table, line: Line, at: int) -> Markup:
    field = line.fields[at]
    if isinstance(field, Number):
        text = latex_number(field.value, field.digits)
        if field.has_interval:
            ends = ", ".join(latex_number(end, field.digits) for end in (field.low, field.high))
            text = f"{text} {{[}}{ends}{{]}}"
        return Markup(f"\\textbf{{{text}}}" if line.bold and table.headings[at].interval else text)
    if not table.headings[at].method:
        return Markup(latex(shortened(field, _LONGEST)))
    text = latex(shortened(field, _LONGEST))
    text = f"\\textbf{{{text}}}" if line.bold else text
    reference = document.cited.get(family_of(field))
    cite = f"~\\cite{{{reference.key}}}" if reference else ""
    return Markup(f"{text}{cite}{latex(_remark(line.remark))}")


def _markdown(document: Document) -> str:
    page = _environment(markdown).get_template("boards.md")
    known = document.cited.items()
    return page.render(
        tables=document.tables,
        about=document.about,
        title=_title,
        cell=_markdown_cell,
        cited=_uncited(document) or "Papers:",
        papers=[(family, reference.paper) for family, reference in known],
        bibtex=document.bibtex.splitlines() if document.with_bibtex else [],
    )


def _markdown_cell(table: Table, line: Line, at: int) -> Markup:
    field = line.fields[at]
    if isinstance(field, Number):
        text = number(field.value, field.digits)
        if field.has_interval:
            text += f" \\[{number(field.low, field.digits)}, {number(field.high, field.digits)}\\]"
        return Markup(f"**{text}**" if line.bold and table.headings[at].interval else text)
    text = markdown(shortened(field, _LONGEST)).strip()
    if not table.headings[at].method:
        return Markup(text)
    return Markup((f"<b>{text}</b>" if line.bold else text) + markdown(_remark(line.remark)))


def _remark(remark: str) -> str:
    return f" ({remark})" if remark else ""


def _title(table: Table) -> str:
    of = f", track {table.track}" if table.track else ""
    return f"{table.board.replace('-', ' of ').capitalize()}, suite {table.suite}{of}"


def _uncited(document: Document) -> str:
    names = ", ".join(shortened(family, _LONGEST) for family in document.uncited)
    return f"Without a paper of their own: {names}." if names else ""


def _environment(escape: Callable[[str], str]) -> Environment:
    """Templates in which every text is escaped but what is marked as written."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # `finalize` escapes, by the format
        undefined=StrictUndefined,
        finalize=lambda value: escape(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"short": shortened, "tex": Markup, "plain": Markup}
    return made


def _csv(document: Document) -> str:
    """One row per row of a board: its columns, then where it comes from and what it cites.

    A column of numbers with intervals has two more, ``_low`` and ``_high``; fields that a board does not
    have are empty. Texts that a spreadsheet would take for formulas have an apostrophe before them.
    """
    rows = [_spread(row) for table in document.tables for row in _rows(table, document)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    content = io.StringIO()
    writer = csv.DictWriter(content, columns, restval="", quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue()


def _spread(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as CSV has it: texts that are no formulas, nothing for what is not known."""
    return {
        spreadsheet(name): spreadsheet(value) if isinstance(value, str) else "" if value is None else value
        for name, value in row.items()
    }


def _rows(table: Table, document: Document) -> Iterator[dict[str, Any]]:
    """Rows as data: by names, numbers in full, None where one is not known."""
    for line in table.lines:
        row: dict[str, Any] = {"suite": table.suite, "track": table.track, "board": table.board}
        for heading, field in zip(table.headings, line.fields, strict=True):
            row |= _data(heading.name, field, heading.interval)
        reference = document.cited.get(_first(table, line))
        row |= {"best": line.bold, "remark": line.remark}
        row |= {"paper": reference.paper if reference else "", "cite": reference.key if reference else ""}
        yield row


def _first(table: Table, line: Line) -> str:
    """The first method that a row names."""
    named = zip(table.headings, line.fields, strict=True)
    return next((family_of(str(field)) for heading, field in named if heading.method), "")


def _data(name: str, field: Field, interval: bool) -> dict[str, Any]:
    if not isinstance(field, Number):
        return {name: field}
    found = {name: _known(field.value)}
    if interval:
        found |= {f"{name}_low": _known(field.low), f"{name}_high": _known(field.high)}
    return found


def _known(value: float) -> float | None:
    return None if value != value or value in (float("inf"), float("-inf")) else value


def _json(document: Document) -> str:
    """An object of ``boards`` (suite, track, board, note, rows), ``about``, ``references`` and ``bibtex``."""
    boards = [
        {
            **{"suite": table.suite, "track": table.track, "board": table.board, "note": table.note},
            "rows": list(_rows(table, document)),
        }
        for table in document.tables
    ]
    told: dict[str, Any] = {
        "boards": boards,
        "about": list(document.about),
        "references": {
            reference.key: {"paper": reference.paper, "title": reference.title, "authors": reference.authors}
            for reference in document.cited.values()
        },
        "uncited": document.uncited,
    }
    if document.with_bibtex:
        told["bibtex"] = document.bibtex
    text = json.dumps(told, ensure_ascii=True, allow_nan=False, indent=1)
    return text.replace("<", "\\u003c") + "\n"
