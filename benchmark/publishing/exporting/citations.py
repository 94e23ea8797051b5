"""What exported boards cite: BibTeX of a method's paper, as far as its own words tell it.

A method names its paper in a line. Nothing is looked up and nothing guessed: an entry is ``@misc`` with that
line as its note, an arXiv number where the line has one, and of submissions the card's title and authors.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import MethodError, PotemkinError
from benchmark.files.yaml import read_mapping
from benchmark.methods.card import Card, load_card
from benchmark.publishing.exporting.texts import latex
from benchmark.publishing.site.texts import shortened
from benchmark.running.registry import Entry

CITATION = "CITATION.cff"
_ARXIV = re.compile(r"(?:arXiv[: ]\s?|arxiv\.org/(?:abs|pdf)/)(\d{4}\.\d{4,5})\b", re.IGNORECASE)
_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_NONE = ("", "control", "none", "ours")
"""What a method of the project's own says that has no paper."""
_LONGEST = 1000
"""Characters of a stranger's text in an entry."""


@dataclass(frozen=True)
class Reference:
    """What a method cites.

    Args:
        key: of the entry; the same text has the same key everywhere.
        paper: the method's own line.
        title: of a submission, by its card; empty elsewhere.
        authors: likewise.
    """

    key: str
    paper: str
    title: str = ""
    authors: tuple[str, ...] = ()

    def bibtex(self) -> str:
        """The entry, in ASCII with its braces balanced."""
        fields = {}
        if self.title:
            fields["title"] = f"{{{latex(shortened(self.title, _LONGEST))}}}"
        if self.authors:  # braces keep a name whole, whatever words and commas are in it
            named = (f"{{{latex(shortened(author, _LONGEST))}}}" for author in self.authors)
            fields["author"] = " and ".join(named)
        fields["note"] = latex(shortened(self.paper, _LONGEST))
        if len(found := set(_ARXIV.findall(self.paper))) == 1:
            fields |= {"eprint": found.pop(), "archiveprefix": "arXiv"}
        fields["key"] = self.key
        return "\n".join([f"@misc{{{self.key},", *(f"  {k} = {{{v}}}," for k, v in fields.items()), "}"])


def references(families: Iterable[str], methods: Mapping[str, Entry]) -> dict[str, Reference]:
    """What methods cite, by their names; those without a paper, or that the project does not have, lack.

    Args:
        families: names of methods.
        methods: the project's, by variant.
    """
    known = {entry.name: entry for entry in methods.values()}
    found = {}
    for family in dict.fromkeys(families):
        entry = known.get(family)
        if entry is None:
            continue
        card, paper = _card(entry), str(entry.method.paper)
        if card is not None:
            found[family] = _reference(card.paper, card.title, card.authors)
        elif paper.strip().casefold() not in _NONE:
            found[family] = _reference(paper)
    return found


def _card(entry: Entry) -> Card | None:
    if not entry.foreign:
        return None
    try:
        return load_card(entry.file.parent)
    except (MethodError, OSError):
        return None


def _reference(paper: str, title: str = "", authors: tuple[str, ...] = ()) -> Reference:
    told = "\0".join((paper, title, *authors))
    digest = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    words = re.findall(r"[A-Z][A-Za-z]+", authors[0] if authors else paper)
    years = set(_YEAR.findall(_ARXIV.sub("", paper)))
    year = years.pop() if len(years) == 1 else ""
    first = (words[-1] if authors else words[0]).lower()[:24] if words else "paper"
    return Reference(f"{first}{year}-{digest}", paper, title, authors)


def bibliography(found: Iterable[Reference]) -> str:
    """All entries, each once, by key."""
    unique = {one.key: one for one in found}
    return "".join(f"{unique[key].bibtex()}\n\n" for key in sorted(unique)).rstrip("\n") + "\n" * bool(unique)


def own_reference(root: Path, commit: str) -> Reference:
    """The benchmark itself, as ``CITATION.cff`` of the project has it, at the commit that ran.

    Raises:
        PotemkinError: the file is missing or is no YAML.
    """
    told = read_mapping(root / CITATION, CITATION, PotemkinError)
    authors = tuple(str(one.get("name", "")) for one in told.get("authors", ()) if isinstance(one, dict))
    at = f", commit {commit}" if commit else ""
    note = f"Version {told.get('version', 'unknown')}{at}"
    return Reference("potemkin", note, str(told.get("title", "Potemkin")), authors)
