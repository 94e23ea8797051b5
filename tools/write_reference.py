"""Writes what methods are handed, member by member, into docs/methods.md, from the docstrings.

python tools/write_reference.py           # writes
python tools/write_reference.py --check   # says whether it is as it should be; exit code 1 where not
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "methods.md"
BEGIN, END = "<!-- reference: begin, written by tools/write_reference.py -->", "<!-- reference: end -->"
GROUPS = {
    "What an attack is handed": ("Case", "VisualizationCase", "BackdoorCase", "FairwashingCase"),
    "What maps should show": ("MapGoal", "GOALS"),
    "What it may spend": (
        "Budget",
        "LInfBudget",
        "L2Budget",
        "PatchBudget",
        "FlowBudget",
        "ModelBudget",
        "BackdoorBudget",
        "FairwashingBudget",
    ),
    "What it returns": ("Forgery", "Trigger", "patch_trigger", "PATTERNS"),
    "What a detector is handed": ("Audit", "VisualizationAudit", "BackdoorAudit", "FairwashingAudit"),
    "What a repair is handed": ("RepairCase", "Rehearsal"),
    "Explainers of images": ("Explainer", "Query", "build_explainer", "correlation"),
    "Explainers of units": ("Visualizer", "FeatureVisualization", "Visualizations", "Unit"),
    "Explainers of classes": ("ClassExplainer", "InputAgnosticSaliency"),
    "The network": (
        *("Network", "as_network", "Smoothing", "Gate", "Softplus", "EXACT", "in_batches", "at_once"),
    ),
    "What a method is": (
        "Method",
        "Attack",
        "Hardening",
        "Detector",
        "Repair",
        "Outlasting",
        "Defense",
        "Mode",
        "TaskFacts",
        "FairwashingFacts",
    ),
}
PLAIN = {
    "PATTERNS": "names of what a patch may look like",
    "GOALS": "names of what maps may be asked to show",
    "EXACT": "the unmodified network, a `Smoothing`",
    "Defense": "a `Hardening`, a `Detector` or a `Repair`",
    "Mode": '`"oblivious"` or `"adaptive"`',
}
"""Names that are no class and no function."""


class Undocumented(Exception):
    """A public member whose docstring is missing or tells nothing of a field."""


def reference() -> str:
    """The section between the markers.

    Raises:
        Undocumented: a name of ``benchmark.api`` has no group, or a member is not described.
    """
    from benchmark import api

    grouped = [name for names in GROUPS.values() for name in names]
    if lost := sorted(set(api.__all__) ^ set(grouped)):
        raise Undocumented(f"{lost[0]} is in one of benchmark.api and GROUPS only")
    lines = [BEGIN, ""]
    for title, names in GROUPS.items():
        lines += [f"### {title}", ""]
        for name in names:
            lines += [*_entry(name, getattr(api, name), set(api.__all__)), ""]
    return "\n".join([*lines, END])


def _entry(name: str, thing: Any, known: set[str]) -> list[str]:
    if name in PLAIN:
        return [
            f"**`{name}`** {PLAIN[name]}"
            + (f": {', '.join(f'`{v}`' for v in thing)}." if name == "PATTERNS" else ".")
        ]
    if inspect.isfunction(thing):
        return [f"**`{name}{_signature(thing)}`** {_words(thing, name)}"]
    above = [base.__name__ for base in thing.__mro__[1:] if base.__name__ in known]
    inherits = f" Has all that `{above[0]}` has." if above else ""
    return [f"**`{name}`** {_words(thing, name)}{inherits}", "", *_members(name, thing, known)]


def _members(name: str, kind: type, known: set[str]) -> Iterator[str]:
    """A line for each field, property and function, with those of bases that have no entry of their own."""
    classes = [kind]
    for base in kind.__mro__[1:]:
        if base.__name__ in known or not base.__module__.startswith("benchmark."):
            break
        classes.append(base)
    seen: set[str] = set()
    for one in classes:
        described = _arguments(one) | _attributes(one)
        for field, annotation in inspect.get_annotations(one).items():
            if field.startswith("_") or field in seen or (field not in described and _is_above(one, field)):
                continue
            if field not in described:
                raise Undocumented(f"{name}.{field}: say in the docstring of {one.__name__} what it is")
            seen.add(field)
            yield f"* `{field}: {_type(annotation)}{_default(one, field)}` {described[field]}"
    for one in classes:
        for member, value in vars(one).items():
            if member.startswith("_") or member in seen:
                continue
            if isinstance(value, property):
                seen.add(member)
                kind_of = _type(inspect.signature(value.fget).return_annotation) if value.fget else ""
                yield f"* `{member}: {kind_of}` {_words(value, f'{name}.{member}')}"
            elif inspect.isfunction(value) or isinstance(value, staticmethod | classmethod):
                seen.add(member)
                function = value if inspect.isfunction(value) else value.__func__
                yield f"* `{member}{_signature(function)}` {_words(function, f'{name}.{member}')}"


def _words(thing: Any, name: str) -> str:
    """The docstring without its list of arguments, on one line."""
    text = inspect.getdoc(thing)
    if not text:
        raise Undocumented(f"{name} has no docstring")
    said, raised = re.split(r"\n\n?(?:Args|Returns|Raises):\n", text)[0], _section(text, "Raises")
    lines = " ".join(said.replace("::\n", ":\n").split())
    if raised:
        lines += " Raises " + "; ".join(f"`{error}`: {why}" for error, why in raised.items()) + ""
    return _plain(lines)


def _is_above(kind: type, field: str) -> bool:
    """Whether a base class has the field, and describes it."""
    return any(field in _arguments(base) | _attributes(base) for base in kind.__mro__[1:-1])


def _arguments(kind: type) -> dict[str, str]:
    found = _section(inspect.cleandoc(kind.__dict__.get("__doc__") or ""), "Args")
    return {name: _plain(text) for name, text in found.items()}


def _attributes(kind: type) -> dict[str, str]:
    """Texts below attributes of a class."""
    if not kind.__module__.startswith("benchmark."):
        return {}
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        line.target.id: _plain(" ".join(str(after.value.value).split()))
        for line, after in pairwise(tree.body)
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def _section(text: str, title: str) -> dict[str, str]:
    """Names and texts of a list in a docstring."""
    found = re.search(rf"^{title}:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    entries: dict[str, str] = {}
    for line in found[1].splitlines() if found else ():
        if match := re.match(r"    (\w+): (.*)", line):
            last = match[1]
            entries[last] = match[2]
        elif line.strip():
            entries[last] += " " + line.strip()
    return entries


def _plain(text: str) -> str:
    """Marks of docstrings as those of Markdown."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _signature(function: Any) -> str:
    text = re.sub(r"['\"]([^'\"]*)['\"]", r"\1", str(inspect.signature(function)))
    return text.replace("self, ", "").replace("(self)", "()").replace("= Smoothing()", "= EXACT")


def _type(annotation: Any) -> str:
    return (
        str(annotation) if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    )


def _default(kind: type, field: str) -> str:
    value = kind.__dict__.get(field, inspect.Parameter.empty)
    if value is inspect.Parameter.empty or inspect.isdatadescriptor(value):
        return ""
    return f" = {value!r}".replace("Smoothing()", "EXACT")


def written(page: str) -> str:
    """The page with the section as it should be."""
    before, rest = page.split(BEGIN)
    return before + reference() + rest.split(END)[1]


def main() -> int:
    """Writes, or checks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    page = PAGE.read_text(encoding="utf-8")
    try:
        wanted = written(page)
    except Undocumented as error:
        print(error)
        return 1
    if options.check and page != wanted:
        print(f"{PAGE.relative_to(ROOT)} is not current: python tools/write_reference.py")
        return 1
    if not options.check:
        PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
