"""Fingerprints of code: equal if and only if the code does the same by its syntax tree.

Comments, docstrings, blank lines and formatting do not count. A file's fingerprint is taken together with
those of all project modules that it imports, at any depth, so that a cell knows every line it depends on.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmark.files.assets import sha256_of

PACKAGES = ("benchmark", "baselines", "submissions")
_WORDS = ("card.yaml", "README.md")
"""Files of a submission that are for people."""


def code_fingerprints(files: Iterable[Path], root: Path) -> dict[str, str]:
    """SHA-256 of each file's normalized code and of each project module it imports, by relative path."""
    found: dict[str, str] = {}
    waiting = [path.resolve() for path in files]
    while waiting:
        path = waiting.pop()
        name = path.relative_to(root).as_posix()
        if name in found:
            continue
        stat = path.stat()
        found[name], imported = _read(path, root, stat.st_mtime_ns, stat.st_size)
        waiting.extend(imported)
    return dict(sorted(found.items()))


def data_fingerprints(file: Path, root: Path) -> dict[str, str]:
    """SHA-256 of every file beside a submission's code that the code could read, by relative path.

    Those are all in its folder but Python's own, its card and its README, and hidden ones, which desktops and
    editors leave behind.
    """
    folder = file.parent
    if not folder.is_relative_to(root / "submissions") or folder == root / "submissions":
        return {}
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    return {
        path.relative_to(root).as_posix(): sha256_of(path)
        for path in found
        if path.suffix not in (".py", ".pyc") and path.name not in _WORDS
    }


@functools.cache
def _read(path: Path, root: Path, changed: int, size: int) -> tuple[str, tuple[Path, ...]]:
    """Fingerprint of a file and the project files that it imports (cached while the file stays as it is)."""
    source = path.read_bytes()
    try:
        tree = ast.parse(source, str(path))
    except SyntaxError:  # it fails when it is imported; until then it is what it reads
        return hashlib.sha256(source).hexdigest(), ()
    digest = hashlib.sha256("".join(_normalized(tree)).encode()).hexdigest()
    return digest, tuple(_imported_files(tree, path, root))


def _normalized(node: object) -> Iterator[str]:
    """The tree as text without docstrings and empty fields, which differ between Python versions."""
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for field, value in ast.iter_fields(node):
            if field == "body" and isinstance(value, list):
                value = _without_docstring(node, value)
            if value is None or value == [] or field in ("type_comment", "kind"):
                continue
            yield f" {field}="
            yield from _normalized(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            yield from _normalized(item)
            yield ","
        yield "]"
    else:
        yield repr(node)


def _without_docstring(node: ast.AST, body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements less every bare string: docstrings of modules, classes, functions and attributes."""
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    if not isinstance(node, documented):
        return body
    return [
        statement
        for statement in body
        if not (
            isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
            and isinstance(statement.value.value, str)
        )
    ]


def _imported_files(tree: ast.Module, path: Path, root: Path) -> Iterator[Path]:
    for node in _runtime_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _resolve(alias.name, root)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = path.relative_to(root).parent.parts
                kept = package[: len(package) - node.level + 1]
                base = ".".join([*kept, *([node.module] if node.module else [])])
            yield from _resolve(base, root)
            for alias in node.names:
                yield from _resolve(f"{base}.{alias.name}", root, or_nothing=True)


def _runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``, which never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for statement in node.orelse:
                yield statement
                yield from _runtime_nodes(statement)
            continue
        yield node
        yield from _runtime_nodes(node)


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def _resolve(module: str, root: Path, or_nothing: bool = False) -> Iterator[Path]:
    """Files that importing ``module`` runs, if it is one of the project's."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return
    for depth in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:depth])
        if depth == len(parts) and folder.with_suffix(".py").is_file():
            yield folder.with_suffix(".py")
        elif (folder / "__init__.py").is_file() and not (or_nothing and depth < len(parts)):
            yield folder / "__init__.py"
