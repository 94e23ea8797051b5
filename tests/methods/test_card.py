"""A card is accepted or every fault of it is told, each in one sentence that names the field and the fix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import ROOT

from benchmark.errors import MethodError
from benchmark.methods.card import card_problems, division_of, load_card
from benchmark.running.registry import find_methods
from benchmark.submissions.scaffold import new_submission

GOOD: dict[str, Any] = {
    "title": "Sign step",
    "authors": ["Ada Lovelace", "Charles Babbage"],
    "paper": "https://example.org/paper",
    "licence": "Apache-2.0",
    "tracks": ["saliency", "signature"],
    "parameters": {"steps": 40},
    "division": "closed",
}
DELETED = object()


def test_a_folders_name_gives_the_terminal_no_orders(tmp_path: Path) -> None:
    for name in ("a\x1b[2Jb\nsubmissions: accepted", "a\udcffb"):
        (folder := tmp_path / name).mkdir()
        (problem,) = card_problems(folder)
        assert problem.isprintable() and "missing" in problem


def written(folder: Path, text: str) -> Path:
    """A submission's folder with a card that reads so."""
    place = folder / "submissions" / "mine"
    place.mkdir(parents=True)
    (place / "card.yaml").write_text(text, encoding="utf-8")
    return place


def changed(folder: Path, **fields: object) -> Path:
    """A submission's folder with a good card of which some fields are otherwise."""
    kept = {name: value for name, value in {**GOOD, **fields}.items() if value is not DELETED}
    return written(folder, yaml.safe_dump(kept))


def test_a_good_card_is_read_as_it_is(tmp_path: Path) -> None:
    card = load_card(changed(tmp_path))
    assert card.authors == ("Ada Lovelace", "Charles Babbage") and card.tracks == ("saliency", "signature")
    assert card.parameters == {"steps": 40} and card.division == "closed" and card.note == ""
    with pytest.raises(ValueError, match="frozen"):
        card.__setattr__("division", "open")


def test_a_new_submission_lacks_nothing_but_its_authors(tmp_path: Path) -> None:
    for name in ("benchmark", "baselines", "tasks"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    folder = new_submission(tmp_path, "attack", "card_attack", "saliency")
    (problem,) = card_problems(folder)
    assert "field authors" in problem and "name who wrote the method" in problem
    assert division_of(folder / "method.py", tmp_path) == "closed", "it is ranked before anybody signs it"
    text = (folder / "card.yaml").read_text(encoding="utf-8")
    (folder / "card.yaml").write_text(text.replace("Your Name", "Ada Lovelace"), encoding="utf-8")
    assert not card_problems(folder)
    assert load_card(folder).authors == ("Ada Lovelace",)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"title": DELETED}, "field title is missing; write it as in `title: "),
        ({"title": 2026}, "field title must be text; put quotes around it (it is 2026)"),
        ({"title": " "}, "field title is empty"),
        ({"title": "x" * 301}, "field title is too long"),
        ({"authors": []}, "field authors is empty"),
        ({"authors": "Ada Lovelace"}, "field authors must be a list"),
        ({"authors": ["Ada", "Your Name"]}, "field authors still names the template's author"),
        ({"authors": ["Ada", ""]}, "field authors.1 is empty"),
        ({"paper": None}, "field paper must be text"),
        ({"paper": "none\nproblem: all is lost"}, "field paper holds a line's end"),
        ({"licence": "see the file LICENSE; all rights reserved"}, "field licence is not of the form"),
        ({"tracks": []}, "field tracks is empty"),
        (
            {"tracks": ["salience"]},
            "field tracks names an unknown track 'salience': did you mean",
        ),
        ({"tracks": ["saliency", "saliency"]}, "field tracks names a track twice"),
        ({"parameters": [1]}, "field parameters must be a mapping"),
        ({"division": "both"}, "field division must be 'closed' or 'open' (it is 'both')"),
        ({"division": "open"}, "field note is missing, which division open needs"),
        ({"division": "open", "note": "  "}, "field note is missing, which division open needs"),
        ({"autors": ["Ada"]}, "unknown field 'autors': did you mean 'authors'?"),
    ],
)
def test_a_fault_is_one_sentence_with_the_field_and_the_fix(
    fields: dict[str, object], told: str, tmp_path: Path
) -> None:
    folder = changed(tmp_path, **fields)
    (problem,) = card_problems(folder)
    assert told in problem and problem.startswith("mine/card.yaml: ") and "\n" not in problem
    assert re.search(r"write it as in `\w+: .+`$|rename or remove it$", problem), "no fix is told"
    with pytest.raises(MethodError, match=re.escape(told)):
        load_card(folder)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    folder = changed(tmp_path, title="", authors=["Your Name"], division="open", extra=1)
    problems = card_problems(folder)
    assert len(problems) == 4
    for field in ("title", "authors", "note", "extra"):
        assert sum(f"field {field}" in problem or f"'{field}'" in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title: [", "is not valid YAML"),
        ("- title", "must be a mapping"),
        ("", "must be a mapping"),
        ("1: 2", "the name 1 is no text"),
        ("title: 2026-99-99", "reads as a date"),
        ("[" * 5000, "more than 32 levels"),
        ("!!python/object/apply:os.system [true]", "tags such as"),
        ("title: x\n" + "#" * 70_000, "is larger than 64 KiB"),
    ],
)
def test_what_is_no_card_is_refused(text: str, told: str, tmp_path: Path) -> None:
    (problem,) = card_problems(written(tmp_path, text))
    assert told in problem and len(problem) < 400


def test_a_card_that_unfolds_is_shown_in_short(tmp_path: Path) -> None:
    levels = "".join(
        f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefg", "bcdefgh", strict=True)
    )
    problems = card_problems(written(tmp_path, f"a: &a [lol]\n{levels}title: *h\n"))
    assert any("more than 100000 values" in problem for problem in problems)
    assert all(len(problem) < 400 for problem in problems)


def test_a_card_that_is_absent_or_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "submissions" / "bare"
    folder.mkdir(parents=True)
    assert card_problems(folder) == ["bare/card.yaml is missing: `potemkin new` writes one to start from"]
    (tmp_path / "elsewhere.yaml").write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    (folder / "card.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    (problem,) = card_problems(folder)
    assert "is a link" in problem
    (folder / "card.yaml").unlink()
    (folder / "card.yaml").write_bytes(b"title: \xff")
    (problem,) = card_problems(folder)
    assert "is not UTF-8 text" in problem


@pytest.mark.parametrize(
    ("fields", "division"),
    [
        ({}, "closed"),
        ({"authors": ["Your Name"], "title": ""}, "closed"),
        ({"division": "open"}, "open"),
        ({"division": "both"}, "open"),
        ({"division": DELETED}, "open"),
    ],
)
def test_a_submission_is_closed_where_its_card_says_so(
    fields: dict[str, object], division: str, tmp_path: Path
) -> None:
    folder = changed(tmp_path, **fields)
    for file in (folder / "method.py", folder / "parts" / "more.py"):
        assert division_of(file, tmp_path) == division


def test_baselines_are_closed_and_loose_files_open() -> None:
    assert division_of(ROOT / "baselines" / "attacks" / "dombrowski.py", ROOT) == "closed"
    assert division_of(ROOT / "submissions" / "loose.py", ROOT) == "open"
    assert {entry.division for entry in find_methods(ROOT).entries} == {"closed"}
