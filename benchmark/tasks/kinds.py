"""Kinds of fields that suites and tasks share; nothing here needs a tensor."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from benchmark.files.fields import shortly

Title = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\n\t]*$")]
"""One line."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What fits into a column of a table."""
Item = TypeVar("Item")


def _distinct(items: list[Item]) -> list[Item]:
    """The list, unless something is in it twice."""
    for place, item in enumerate(items):
        if item in items[:place]:
            raise ValueError(f"names {shortly(item)} twice; name it once")
    return items


Distinct = Annotated[list[Item], Field(max_length=10_000), AfterValidator(_distinct)]
"""A list in which nothing stands twice."""


class Part(BaseModel):
    """A mapping of fields; an unknown one is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
