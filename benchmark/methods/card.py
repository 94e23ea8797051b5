"""A submission's card says by whom it is, after what, licensed how, and in which division it competes.

Divisions: a *closed* method uses nothing but what the task hands over; an *open* one may use anything else,
and its card says what. Whoever says nothing readable counts as open.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from benchmark.errors import MethodError, unknown
from benchmark.files.forms import read_form
from benchmark.files.names import is_printable
from benchmark.tasks.classes import TASK_CLASSES

CARD = "card.yaml"
CLOSED, OPEN = "closed", "open"
TEMPLATE_AUTHOR = "Your Name"
"""Who the author of every new submission is, until its card says more."""


def _shown(text: str) -> str:
    """The text, if it is one line that can be shown: it stands in lists beside those of others."""
    if not is_printable(text):
        raise ValueError("holds a line's end or letters that cannot be shown; write one plain line")
    return text


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300), AfterValidator(_shown)
]
Licence = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+()-]{0,63}$")
]

_EXAMPLES = {
    "title": "Sign step",
    "authors": "[Ada Lovelace]",
    "paper": "https://arxiv.org/abs/1906.07983",
    "licence": "MIT",
    "tracks": "[saliency]",
    "parameters": "{steps: 40}",
    "division": "closed",
    "note": "trained on ImageNet",
}
_REMEDY = "`potemkin new` writes one to start from"


class Card(BaseModel):
    """What ``card.yaml`` says.

    Args:
        title: the method's name in words.
        authors: at least one, by name.
        paper: a link or a reference.
        licence: of what lies in the folder, as in SPDX's list of licences.
        tracks: at least one.
        parameters: settings that were chosen, and on what.
        division: ``closed`` or ``open``.
        note: what an open method uses beyond what the task hands over.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    authors: Annotated[tuple[Text, ...], Field(min_length=1)]
    paper: Text
    licence: Licence
    tracks: Annotated[tuple[str, ...], Field(min_length=1)]
    parameters: dict[str, Any]
    division: Literal["closed", "open"]
    note: Annotated[
        str, StringConstraints(strip_whitespace=True, max_length=2000), Field(validate_default=True)
    ] = ""

    @field_validator("authors")
    @classmethod
    def _named(cls, authors: tuple[str, ...]) -> tuple[str, ...]:
        if TEMPLATE_AUTHOR in authors:
            raise ValueError("still names the template's author; name who wrote the method")
        return authors

    @field_validator("tracks")
    @classmethod
    def _known(cls, tracks: tuple[str, ...]) -> tuple[str, ...]:
        for track in tracks:
            if track not in TASK_CLASSES:
                raise ValueError(f"names an {unknown('track', track, TASK_CLASSES)}")
        if len(set(tracks)) < len(tracks):
            raise ValueError("names a track twice; name it once")
        return tracks

    @field_validator("note")
    @classmethod
    def _explained(cls, note: str, info: ValidationInfo) -> str:
        if info.data.get("division") == OPEN and not note:
            raise ValueError(
                "is missing, which division open needs; say what is used beyond what the task hands over"
            )
        return note


def load_card(folder: Path) -> Card:
    """The card of a submission's folder.

    Args:
        folder: ``submissions/NAME``, which holds ``card.yaml``.

    Raises:
        MethodError: there is none, or something is wrong with it: one sentence per fault, each with the field
            and the fix, a line each.
    """
    card, problems = read_form(folder / CARD, Card, _EXAMPLES, _REMEDY)
    if card is None:
        raise MethodError("\n".join(problems))
    return card


def card_problems(folder: Path) -> list[str]:
    """All that is wrong with the card of a submission's folder: one sentence per fault, each with the fix."""
    return read_form(folder / CARD, Card, _EXAMPLES, _REMEDY)[1]


def division_of(file: Path, root: Path) -> str:
    """The division of the method that a file below ``root`` defines: ``closed`` or ``open``.

    Baselines are closed. A submission is closed where its card says so, whatever else the card lacks, and
    open otherwise.
    """
    parts = file.relative_to(root).parts
    if parts[0] != "submissions":
        return CLOSED
    return _claimed(root / "submissions" / parts[1]) if len(parts) > 2 else OPEN


class _Claim(BaseModel):
    """A card of which only the division is read."""

    division: Literal["closed", "open"]


def _claimed(folder: Path) -> str:
    """The division that the folder's card claims; open without a claim."""
    claim, _ = read_form(folder / CARD, _Claim, _EXAMPLES, _REMEDY)
    return claim.division if claim else OPEN
