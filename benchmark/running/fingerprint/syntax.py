"""Syntax trees as text without what does not count: comments, docstrings, formatting.

Nothing here recurses: code of strangers may be nested as deep as they like.
"""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_IGNORED = ("type_comment", "kind")


def parsed(source: bytes) -> ast.Module | None:
    """The tree of a file; None for what Python cannot read either, or only at a price."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def digest_of(*nodes: ast.AST, salt: str = "") -> str:
    """SHA-256 of trees, the same for all spellings of the same code."""
    digest = hashlib.sha256(salt.encode())
    for node in nodes:
        digest.update("".join(_normalized(node)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements less every bare string: docstrings of modules, classes, functions and attributes."""
    return [statement for statement in body if not is_docstring(statement)]


def is_docstring(statement: ast.AST) -> bool:
    """Whether a statement is a bare string."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _normalized(tree: ast.AST) -> Iterator[str]:
    """The tree as text, without docstrings and without empty fields, which differ between Python versions."""
    waiting: list[tuple[bool, object]] = [(False, tree)]  # whether it is text already, and what it is
    while waiting:
        ready, item = waiting.pop()
        if ready:
            yield str(item)
        elif isinstance(item, ast.AST):
            waiting.extend(reversed(list(_fields(item))))
        elif isinstance(item, list):
            parts = [part for element in item for part in ((False, element), (True, ","))]
            waiting.extend(reversed([(True, "["), *parts, (True, "]")]))
        elif type(item) is int:  # in decimals Python refuses to write long ones
            yield hex(item)
        else:
            yield repr(item)


def _fields(node: ast.AST) -> Iterator[tuple[bool, object]]:
    yield True, f"({type(node).__name__}"
    for field, value in ast.iter_fields(node):
        if field == "body" and isinstance(value, list) and isinstance(node, _DOCUMENTED):
            value = without_docstring(value)
        if value is None or value == [] or field in _IGNORED:
            continue
        yield True, f" {field}="
        yield False, value
    yield True, ")"
