"""docs/methods.md lists all that a method is offered, in the words of the docstrings."""

from __future__ import annotations

import importlib.util
import inspect
import re
from types import ModuleType

import pytest
from harness import ROOT

from benchmark import api


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "tools" / "write_reference.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_current(tool: ModuleType) -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert tool.written(page) == page, "run: python tools/write_reference.py"


@pytest.mark.parametrize("name", api.__all__)
def test_every_name_and_every_public_member_is_on_the_page(name: str, tool: ModuleType) -> None:
    section = tool.reference()
    begins = re.search(rf"\*\*`{name}[`(]", section)
    assert begins, name
    start = begins.start()
    entry = section[start : section.find("**`", start + 3)]
    thing = getattr(api, name)
    if not inspect.isclass(thing):
        return
    above = [base for base in thing.__mro__[1:] if base.__name__ in api.__all__]
    inherited = {member for base in above for member in (*dir(base), *inspect.get_annotations(base))}
    listed = [*vars(thing), *inspect.get_annotations(thing)]
    for base in thing.__mro__[1:]:
        if base.__module__.startswith("benchmark.") and base.__name__ not in api.__all__:
            listed += [*vars(base), *inspect.get_annotations(base)]
    for member in listed:
        if not member.startswith("_") and member not in inherited and member not in _GIVEN:
            assert f"* `{member}:" in entry or f"* `{member}(" in entry, member


_GIVEN = {"call_super_init", "dump_patches", "training", "T_destination"}
"""Attributes that torch gives to its own modules."""


def test_what_a_docstring_leaves_out_is_an_error(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.Case, "__doc__", "A batch.\n\nArgs:\n    model: the network.\n")
    with pytest.raises(tool.Undocumented, match=r"Case\.explainer"):
        tool.reference()
    monkeypatch.undo()
    monkeypatch.setattr(api.Case.project, "__doc__", None)
    with pytest.raises(tool.Undocumented, match=r"Case\.project has no docstring"):
        tool.reference()
