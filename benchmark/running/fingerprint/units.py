"""A module as units: each function, class, assignment and imported name at its top, and what happens there.

A unit counts where it is used. What a module *does* when it is imported (a registration, a setting, a loop)
is an effect, and counts wherever the module is imported.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmark.running.fingerprint.syntax import digest_of, parsed, without_docstring
from benchmark.running.fingerprint.uses import Chain, Uses, chain_of, imports_of, is_never, quoted, uses_of

_TABLE = "ByName"
_COMPLAINT = "problems"
"""The method of a task, and of its parts, that says what is wrong with it, before anything runs."""
_SIMPLE = (ast.Pass, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef)
_PLAIN_METACLASSES = {"ABCMeta", "EnumMeta", "type"}


@dataclass(frozen=True, eq=False)
class Unit:
    """One top-level statement, or one name of an import.

    Args:
        names: that it binds.
        uses: what it names.
        nodes: its code.
        package: that its relative imports start from.
        salt: text that counts as part of its code.
        effect: whether importing the module does something beyond binding names.
        bases: of a class.
        registers: whether defining a class below it may do something.
        builds: whether calling a class runs code of its own.
        methods: a class without its fields and complaints; its bases are then what its fields are of as well.
        entries: of a table that is asked by name; nodes and uses are then of the rest.
    """

    names: tuple[str, ...]
    uses: Uses
    nodes: tuple[ast.AST, ...] = ()
    package: str = ""
    salt: str = ""
    effect: bool = False
    bases: tuple[Chain, ...] = ()
    registers: bool = False
    builds: bool = False
    methods: Unit | None = None
    entries: dict[str, Unit] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of its normalized code."""
        return digest_of(*self.nodes, salt=self.salt)

    @functools.cached_property
    def signature(self) -> Uses:
        """What it names with the annotations of arguments, for functions that the harness calls."""
        return uses_of(self.nodes, self.package, annotations=True)


@dataclass(frozen=True)
class Module:
    """A file of code.

    Args:
        sha256: of its bytes.
        units: in the file's order; none where Python cannot read it.
        readable: whether Python can.
    """

    sha256: str
    units: tuple[Unit, ...]
    readable: bool = True

    @functools.cached_property
    def bound(self) -> dict[str, list[int]]:
        """The units that bind a name."""
        found: dict[str, list[int]] = {}
        for index, unit in enumerate(self.units):
            for name in unit.names:
                found.setdefault(name, []).append(index)
        return found


def read_module(path: Path, package: str) -> Module:
    """The module in a file of a package, whose dotted name it is (cached while the file stays as it is)."""
    stat = path.stat()
    return _read(path, package, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _read(path: Path, package: str, changed: int, size: int) -> Module:
    source = path.read_bytes()
    digest, tree = hashlib.sha256(source).hexdigest(), parsed(source)
    if tree is None:
        return Module(digest, (), readable=False)
    try:
        return Module(digest, tuple(_units(tree, package)))
    except (RecursionError, MemoryError):  # nested beyond what Python's own tree can be walked
        return Module(digest, (), readable=False)


def _units(tree: ast.Module, package: str) -> Iterator[Unit]:
    statements = list(_running(tree.body))
    future = [node for node in statements if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    salt = digest_of(*future) if future else ""
    for statement in statements:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            yield from _imported(statement, package)
        elif (table := _table(statement)) is not None:
            yield _table_unit(statement, table, package, salt)
        elif isinstance(statement, ast.ClassDef):
            yield _class(statement, package, salt)
        else:
            yield _unit(statement, package, salt)


def _running(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements but docstrings and what stands under ``if TYPE_CHECKING``."""
    waiting = list(reversed(body))
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.If) and is_never(statement.test):
            waiting.extend(reversed(statement.orelse))
        elif without_docstring([statement]):
            yield statement


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> Iterator[Unit]:
    for found in imports_of(statement, package, late=False):
        text = f"{type(statement).__name__} {found.module} {found.attribute} {found.bound}"
        names = () if found.attribute == "*" else (found.bound,)
        yield Unit(names, Uses(imports=[found]), salt=text, effect=found.attribute == "*")


def _unit(statement: ast.stmt, package: str, salt: str) -> Unit:
    uses, names = uses_of((statement,), package), tuple(_bound(statement))
    return Unit(names, uses, (statement,), package, salt, effect=_does_something(statement))


def _class(statement: ast.ClassDef, package: str, salt: str) -> Unit:
    functions = [part for part in statement.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
    bases = tuple(chain_of(base) for base in statement.bases)
    own = {function.name for function in functions}
    odd = [word for word in statement.keywords if word.arg != "metaclass" or _is_odd(word.value)]
    asked = [function for function in functions if function.name != _COMPLAINT]
    behaviour: tuple[ast.AST, ...] = (*asked, *statement.bases)
    fields = [part.annotation for part in statement.body if isinstance(part, ast.AnnAssign)]
    kinds = uses_of([part for field in fields for part in quoted(field)], package).chains
    return Unit(
        (statement.name,),
        uses_of((statement,), package),
        (statement,),
        package,
        salt,
        effect=bool(odd) or _does_something(statement),
        bases=bases,
        registers=bool(odd) or bool({"__init_subclass__", "__prepare__"} & own),
        builds=bool({"__init__", "__new__", "__post_init__", "__call__"} & own),
        methods=Unit(
            (statement.name,), uses_of(asked, package), behaviour, package, salt, bases=(*bases, *kinds)
        ),
    )


def _is_odd(metaclass: ast.expr) -> bool:
    chain = chain_of(metaclass)
    return not chain or chain[-1] not in _PLAIN_METACLASSES


def _table(statement: ast.stmt) -> ast.Dict | None:
    """The literal of a table that is asked by name."""
    if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.annotation, ast.Subscript):
        return None
    chain = chain_of(statement.annotation.value)
    table = statement.value
    if not chain or chain[-1] != _TABLE or not isinstance(table, ast.Dict):
        return None
    keys = [key.value for key in table.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]
    return table if len(set(keys)) == len(table.keys) else None


def _table_unit(statement: ast.stmt, table: ast.Dict, package: str, salt: str) -> Unit:
    assert isinstance(statement, ast.AnnAssign)
    names = tuple(_bound(statement))
    entries = {
        str(key.value): Unit(names, uses_of((value,), package), (key, value), package, salt)
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(key, ast.Constant)
    }
    return Unit(names, Uses(), (statement.target,), package, salt, entries=entries)


def _bound(statement: ast.stmt) -> list[str]:
    """Names that a statement binds in its module."""
    found: dict[str, None] = {}
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[node.name] = None
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            for one in imports_of(node, "", late=False):
                found[one.bound] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            found[node.id] = None
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found[node.name] = None
        if not isinstance(node, ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))
    return list(found)


def _does_something(statement: ast.stmt) -> bool:
    """Whether a statement may do more than to bind names; calls are looked at elsewhere."""
    waiting: list[ast.stmt] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and is_never(node.test):
            waiting.extend(node.orelse)
        elif isinstance(node, ast.ClassDef):
            waiting.extend(without_docstring(node.body))
        elif isinstance(node, ast.If):
            waiting.extend([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            waiting.extend([*node.body, *node.orelse, *node.finalbody])
            waiting.extend(part for handler in node.handlers for part in handler.body)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if not all(_is_plain(target) for target in targets):
                return True
        elif isinstance(node, ast.AugAssign):
            if chain_of(node.target) != ("__all__",):
                return True
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        elif not isinstance(node, _SIMPLE):
            return True
    return False


def _is_plain(target: ast.expr) -> bool:
    """Whether it is a name, or names."""
    if isinstance(target, ast.Tuple | ast.List):
        return all(isinstance(part, ast.Name) for part in target.elts)
    return isinstance(target, ast.Name)
