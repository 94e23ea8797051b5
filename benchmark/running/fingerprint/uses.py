"""What a piece of code names, imports, calls while it is imported, and does that no syntax can follow."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from benchmark.running.fingerprint.syntax import is_docstring, parsed

Chain = tuple[str, ...]
"""``a.b.c`` as ``("a", "b", "c")``."""

_SHORT = 80
"""Characters of a text that may be a name."""
_OWN_NAMES = {"globals", "vars", "locals", "eval", "exec"}
_IMPORTS = {"import_module", "__import__"}
_ERRORS = {"unknown"}
"""Functions that make errors which end a command; those of a method's fault say how its cells end."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Hint(IntEnum):
    """What code may do beyond what its names say.

    Attributes:
        OWN: reach any name of its own module.
        ANY: reach any module.
        BESIDE: read its own file and what lies beside it.
        WORDS: read docstrings and sources.
    """

    OWN = 1
    ANY = 2
    BESIDE = 3
    WORDS = 4


_HINTS = {
    **dict.fromkeys(("__file__", "__path__", "__spec__", "resources", "get_data"), Hint.BESIDE),
    **dict.fromkeys(
        ("__doc__", "__code__", "getdoc", "getsource", "getsourcelines", "getsourcefile"), Hint.WORDS
    ),
    "__subclasses__": Hint.ANY,
    "__globals__": Hint.OWN,
}


@dataclass(frozen=True)
class Import:
    """One name that an import statement binds.

    Args:
        module: dotted, from the root.
        attribute: what is taken from it; nothing for the module itself, ``*`` for all.
        bound: the name that it gets.
        late: whether it is imported when a function is called.
    """

    module: str
    attribute: str
    bound: str
    late: bool


@dataclass
class Uses:
    """What some nodes use.

    Args:
        chains: every name, with the attributes that are asked of it.
        imports: every import.
        texts: short strings.
        hints: what it may do beyond.
        calls: what is called at import, decorators included; ``("", NAME)`` for a method of no named object.
        computed: patterns of names of modules that are imported by computed names.
    """

    chains: set[Chain] = field(default_factory=set)
    imports: list[Import] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)
    hints: set[Hint] = field(default_factory=set)
    calls: set[Chain] = field(default_factory=set)
    computed: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Place:
    """Where a node stands: in a function, right in a class."""

    late: bool = False
    in_class: bool = False


_TOP = _Place()


def uses_of(nodes: Iterable[ast.AST], package: str, annotations: bool = False) -> Uses:
    """What the nodes use.

    Args:
        nodes: statements or expressions that stand right in a module.
        package: of the module, dotted; relative imports start there.
        annotations: whether those of functions count as well.
    """
    uses = Uses()
    waiting: list[tuple[ast.AST, _Place]] = [(node, _TOP) for node in nodes]
    while waiting:
        node, place = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            uses.imports.extend(imports_of(node, package, place.late))
        elif isinstance(node, ast.Attribute | ast.Name):
            waiting.extend((part, place) for part in _note_chain(node, uses))
        elif isinstance(node, ast.Constant):
            _note_text(node, uses)
        else:
            if isinstance(node, ast.Call):
                _note_call(node, place, uses)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not place.late:
                uses.calls |= {
                    _called(part) for part in node.decorator_list if not isinstance(part, ast.Call)
                }
            waiting.extend(_parts(node, place, annotations))
    return uses


def _parts(node: ast.AST, place: _Place, annotations: bool) -> Iterator[tuple[ast.AST, _Place]]:
    """Children that run, and where they stand."""
    late, right_in = _Place(late=True), _Place(place.late, in_class=True)
    if isinstance(node, _FUNCTIONS):
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                yield default, place
        if annotations and not isinstance(node, ast.Lambda):
            yield from ((part, late) for part in _annotations(node))
        if isinstance(node, ast.Lambda):
            yield node.body, late
            return
        yield from ((part, place) for part in node.decorator_list)
        yield from ((part, late) for part in node.body if not is_docstring(part))
    elif isinstance(node, ast.ClassDef):
        yield from ((part, place) for part in (*node.decorator_list, *node.bases, *node.keywords))
        yield from ((part, right_in) for part in node.body if not is_docstring(part))
    elif isinstance(node, ast.AnnAssign):
        yield node.target, place
        if node.value is not None:
            yield node.value, place
        if place.in_class:
            yield from ((part, place) for part in quoted(node.annotation))
    elif isinstance(node, ast.If) and is_never(node.test):
        yield from ((part, place) for part in node.orelse)
    elif isinstance(node, ast.Raise) and _gives_up(node):
        return
    elif isinstance(node, ast.ExceptHandler) and _gives_up(node.body[-1]):
        if node.type is not None:
            yield node.type, place
    else:
        yield from ((part, place) for part in ast.iter_child_nodes(node))


def is_never(test: ast.expr) -> bool:
    """Whether it holds for type checkers, or for a module that is started, alone."""
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__":
        first = test.comparators[0]
        return (
            isinstance(first, ast.Constant) and first.value == "__main__" and isinstance(test.ops[0], ast.Eq)
        )
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _gives_up(node: ast.stmt) -> bool:
    """Whether it raises an error made right there: what only that names, words above all, runs in no cell."""
    if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
        return False
    name = _called(node.exc.func)[-1]
    return name.endswith("Error") or name in _ERRORS


def imports_of(node: ast.Import | ast.ImportFrom, package: str, late: bool) -> Iterator[Import]:
    """Each name that a statement binds."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            package_name, _, last = alias.name.rpartition(".")
            if not alias.asname:  # binds the first package; the others hang on it
                yield Import(alias.name, "", alias.name.split(".")[0], late)
            elif package_name:
                yield Import(package_name, last, alias.asname, late)
            else:
                yield Import(alias.name, "", alias.asname, late)
        return
    base = node.module or ""
    if node.level:
        parts = package.split(".") if package else []
        base = ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])
    for alias in node.names:
        yield Import(base, alias.name, alias.asname or alias.name, late)


def chain_of(node: ast.AST) -> Chain:
    """``a.b.c`` as names; nothing for what does not start with a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return (node.id, *reversed(names)) if isinstance(node, ast.Name) else ()


def _note_chain(node: ast.Attribute | ast.Name, uses: Uses) -> Iterator[ast.AST]:
    """Notes a name and what is asked of it; gives what it hangs on, if that is no name."""
    inner: ast.AST = node
    names: list[str] = []
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    if isinstance(inner, ast.Name):
        names.append(inner.id)
        uses.chains.add(tuple(reversed(names)))
    else:
        yield inner
    uses.hints |= {_HINTS[name] for name in names if name in _HINTS}
    if names[-2:] == ["modules", "sys"] or (len(names) > 1 and names[-1] == "sys" and names[-2] == "modules"):
        uses.hints.add(Hint.ANY)


def _note_text(node: ast.Constant, uses: Uses) -> None:
    if isinstance(node.value, str) and len(node.value) <= _SHORT:
        uses.texts.add(node.value)
        if node.value in _HINTS:  # getattr(thing, "__doc__")
            uses.hints.add(_HINTS[node.value])


def _called(function: ast.AST) -> Chain:
    chain = chain_of(function)
    return chain or ("", getattr(function, "attr", ""))


def _note_call(node: ast.Call, place: _Place, uses: Uses) -> None:
    chain = _called(node.func)
    if not place.late:
        uses.calls.add(chain)
    if chain[-1] in _OWN_NAMES and len(chain) == 1 and not (chain[0] == "vars" and node.args):
        uses.hints.add(Hint.OWN)
    if chain[-1] not in _IMPORTS:
        return
    name = node.args[0] if node.args else None
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        uses.imports.append(Import(name.value.lstrip("."), "*", "", place.late))
        if name.value.startswith("."):
            uses.hints.add(Hint.ANY)
    elif isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "*" for part in name.values]
        uses.computed.add("".join(parts))
    else:
        uses.hints.add(Hint.ANY)


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    arguments = node.args
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    given = [argument.annotation for argument in every if argument is not None]
    for annotation in (*given, node.returns):
        if annotation is not None:
            yield from quoted(annotation)


def quoted(annotation: ast.expr) -> Iterator[ast.AST]:
    """An annotation, and what it names in quotes."""
    yield annotation
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            tree = parsed(node.value.encode("utf-8", "surrogatepass"))
            if tree is not None:
                yield from tree.body
