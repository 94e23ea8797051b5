"""The citation file keeps the format's rules, and invents no number or address."""

from __future__ import annotations

import tomllib
from typing import Any

import yaml
from harness import ROOT

KEYS = {
    *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers"),
    *("keywords", "license", "license-url", "message", "preferred-citation", "references", "repository"),
    *("repository-artifact", "repository-code", "title", "type", "url", "version"),
}
"""All that version 1.2.0 of the format knows at its top."""


def citation() -> dict[str, Any]:
    """What the file says."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    return content


def test_it_has_what_the_format_asks_for_and_nothing_that_it_does_not_know() -> None:
    told = citation()
    assert {"cff-version", "message", "title", "authors"} <= told.keys() <= KEYS
    assert told["cff-version"] == "1.2.0" and told["type"] == "software"
    assert told["authors"] == [{"name": "The Potemkin contributors"}]
    for reference in told["references"]:
        assert {"type", "title", "authors"} <= reference.keys()


def test_nothing_is_invented_and_the_version_is_the_packages() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "doi" not in text.lower() and "http" not in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert str(citation()["version"]) == project["version"] and citation()["license"] == project["license"]


def test_the_data_card_names_all_data_that_ships_with_its_licence() -> None:
    card = (ROOT / "docs/data-card.md").read_text(encoding="utf-8")
    entries = yaml.safe_load((ROOT / "tasks/datasets.yaml").read_text(encoding="utf-8"))
    for name, entry in entries.items():
        if entry["source"] == "embedded":
            (row,) = [line for line in card.splitlines() if line.startswith(f"| `{name}`")]
            assert entry["licence"] in row
