"""Calls that leave nothing behind: making one while a module is imported is no effect of the import."""

from __future__ import annotations

import builtins

_BUILTINS = {
    *(
        "frozenset",
        "set",
        "dict",
        "tuple",
        "list",
        "str",
        "int",
        "float",
        "bool",
        "bytes",
        "complex",
        "range",
    ),
    *("len", "sorted", "min", "max", "sum", "abs", "round", "zip", "enumerate", "reversed", "map", "filter"),
    *("property", "staticmethod", "classmethod", "type", "isinstance", "issubclass", "hasattr", "getattr"),
    *("object", "slice", "any", "all", "repr", "ord", "chr", "super"),
}
_MODULES = {
    *("dataclasses", "functools", "typing", "typing_extensions", "collections", "contextlib", "abc", "enum"),
    *("itertools", "operator", "math", "fractions", "decimal", "string", "types", "reprlib", "pathlib", "re"),
    *("struct", "datetime", "pydantic", "annotated_types"),
}
_FUNCTIONS = {
    *("torch.no_grad", "torch.enable_grad", "torch.inference_mode", "torch.tensor", "torch.device"),
    *("torch.zeros", "torch.ones", "torch.arange", "torch.linspace", "torch.Size", "torch.finfo"),
    *("numpy.array", "numpy.zeros", "numpy.ones", "numpy.arange", "numpy.linspace", "numpy.finfo"),
    *("logging.getLogger", "os.cpu_count", "os.path.join", "os.getenv", "os.environ.get"),
}
_METHODS = {
    *("join", "split", "strip", "lower", "upper", "format", "encode", "decode", "replace", "splitlines"),
    *("items", "keys", "values", "get", "copy", "fromkeys", "index", "count", "removeprefix", "removesuffix"),
    *("resolve", "absolute", "with_suffix", "with_name", "joinpath", "expanduser", "relative_to", "as_posix"),
    *("tolist", "view", "reshape", "float", "double", "setter", "getter"),
}


def is_harmless_builtin(name: str) -> bool:
    """Whether it is a builtin that does nothing but return; names of nothing do nothing."""
    return name in _BUILTINS or (name.endswith("Error") and hasattr(builtins, name))


def is_harmless_method(name: str) -> bool:
    """Whether methods of that name change nothing, whatever they are of."""
    return name in _METHODS


def is_harmless_elsewhere(dotted: str) -> bool:
    """Whether a function outside of the project does nothing but return."""
    return dotted.split(".")[0] in _MODULES or dotted in _FUNCTIONS
