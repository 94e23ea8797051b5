"""The command `export`: boards for papers and spreadsheets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmark.commands.publications import folder_of
from benchmark.errors import PotemkinError
from benchmark.files.assets import locate_root
from benchmark.files.writing import write_whole, writing
from benchmark.publishing.exporting.about import about
from benchmark.publishing.exporting.citations import own_reference, references
from benchmark.publishing.exporting.tables import tables_of
from benchmark.publishing.exporting.writing import Document, written
from benchmark.publishing.site.reading import Published, read_published
from benchmark.running.registry import find_methods


def export(options: argparse.Namespace) -> int:
    """Writes boards of a published suite, or of a folder of results, in one format."""
    root = locate_root()
    suite = read_published(folder_of(options.suite, root))
    document = _document(suite, options, root)
    text = written(document, options.format)
    if options.bibtex is not None:
        _write(options.bibtex, document.bibtex, "--bibtex")
    if options.out is None:
        sys.stdout.write(text)
    else:
        _write(options.out, text, "--out")
        boards, papers = len(document.tables), len({one.key for one in document.cited.values()})
        print(f"export: {options.out}, {boards} boards of {suite.suite}, {papers} papers")
    return 0


def _document(suite: Published, options: argparse.Namespace, root: Path) -> Document:
    tables = tables_of(suite, options.board, options.track, options.variants)
    tracks = [one for one in suite.tracks if any(table.track in (one, "") for table in tables)]
    ran = suite.cells[suite.cells["commit"] != ""]
    try:
        own = own_reference(root, str(ran["commit"].iloc[0]) if len(ran) else "")
    except PotemkinError:  # boards are boards without it
        own = None
    methods = {entry.variant: entry for entry in find_methods(root).entries}
    families = [family for table in tables for family in table.methods]
    cited = references(families, methods)
    return Document(tables, about(suite, tracks), cited, own, options.bibtex is None)


def _write(path: Path, text: str, option: str) -> None:
    with writing(path, option):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode("utf-8", "replace"))
