"""A fingerprint changes with the code and with nothing else."""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.running.fingerprint import code_fingerprints, data_fingerprints

ROOT = Path(__file__).resolve().parents[2]
PROJECT_FILES = sorted(
    path for folder in ("benchmark", "baselines") for path in (ROOT / folder).rglob("*.py")
)
CODE = '''\
"""A module."""

import math

LIMIT = 3


class Thing:
    """A class."""

    size: int = 4
    """Its size."""

    def area(self, scale: float = 1.0, *rest: int) -> float:
        """Its area."""
        if scale > LIMIT and not rest:
            return math.pi * self.size**2 * scale
        return [part + 1 for part in rest][0] - f"{scale:.2f}".count("a")
'''

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes the files of a project."""
    numbers = itertools.count()

    def write(files: dict[str, str]) -> Path:
        root = tmp_path / str(next(numbers))
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    return write


def test_what_lies_beside_a_submissions_code_counts_and_its_words_do_not(tree: Tree) -> None:
    files = {
        "submissions/a/method.py": "",
        "submissions/a/helper.py": "",
        "submissions/a/card.yaml": "title: a",
        "submissions/a/README.md": "a",
        "submissions/a/.DS_Store": "a",
        "submissions/a/weights/first.safetensors": "1",
        "submissions/b/weights.safetensors": "2",
    }
    root = tree(files)
    found = data_fingerprints(root / "submissions" / "a" / "method.py", root)
    assert found.keys() == {"submissions/a/weights/first.safetensors"}
    other = tree(files | {"submissions/a/weights/first.safetensors": "3"})
    assert data_fingerprints(other / "submissions" / "a" / "method.py", other) != found
    assert data_fingerprints(root / "baselines" / "a.py", root) == {}


def prints(root: Path, file: str = "submissions/a.py") -> dict[str, str]:
    """Fingerprints of a file and of what it imports."""
    return code_fingerprints([root / file], root)


def of_code(code: str, folder: Path) -> str:
    """Fingerprint of code that imports nothing of the project."""
    file = folder / f"{random.getrandbits(64):x}.py"
    file.write_text(code, encoding="utf-8")
    (digest,) = code_fingerprints([file], folder).values()
    return digest


@pytest.mark.parametrize(
    "old, new",
    [
        ("LIMIT = 3", "LIMIT = 3  # because\n# and so on"),
        ('"""A module."""', '"""Another text,\n\non three lines."""'),
        ('"""A module."""\n', ""),
        ('    """A class."""\n', ""),
        ('        """Its area."""\n', ""),
        ('    """Its size."""\n', '    """Its length."""\n'),
        ("import math\n", "\n\n\nimport math\n\n"),
        ("scale: float = 1.0, *rest: int", "\n        scale: float = 1.0,\n        *rest: int,\n    "),
        ("self.size**2", "(self.size ** 2)"),
        ('f"{scale:.2f}".count("a")', "f'{scale:.2f}'.count('a')"),
        ("LIMIT = 3", "LIMIT = 0b11"),
    ],
)
def test_comments_docstrings_blank_lines_and_formatting_do_not_count(
    old: str, new: str, tmp_path: Path
) -> None:
    assert CODE.count(old) == 1
    assert of_code(CODE, tmp_path) == of_code(CODE.replace(old, new), tmp_path)


@pytest.mark.parametrize(
    "old, new",
    [
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("LIMIT = 3", "LIMIT = True"),
        ("LIMIT = 3", "LIMIT = '3'"),
        ("LIMIT = 3", "limit = 3"),
        ("size: int = 4", "size: int = 5"),
        ("size: int = 4", "size: float = 4"),
        ("scale: float = 1.0", "scale: float = 1.5"),
        ("*rest: int", "**rest: int"),
        ("scale > LIMIT", "scale >= LIMIT"),
        ("and not rest", "or not rest"),
        ("not rest", "rest"),
        ("self.size**2 * scale", "self.size**(2 * scale)"),
        ("[part + 1 for part in rest][0]", "[1 + part for part in rest][0]"),
        ("[part + 1 for part in rest][0]", "(part + 1 for part in rest)[0]"),
        ("[0]", "[-0]"),
        ('f"{scale:.2f}"', 'f"{scale:.3f}"'),
        ('f"{scale:.2f}"', 'f"{scale!r:.2f}"'),
        ('f"{scale:.2f}"', '"{scale:.2f}"'),
        ('.count("a")', '.count(b"a")'),
        ("class Thing:", "class Thing(object):"),
        ("    def area", "    @staticmethod\n    def area"),
        ("    def area", "    async def area"),
        ("import math", "import math as maths"),
        ("LIMIT = 3", "LIMIT = 3\nLIMIT = 3"),
    ],
)
def test_every_other_edit_counts(old: str, new: str, tmp_path: Path) -> None:
    assert CODE.count(old) == 1
    assert of_code(CODE, tmp_path) != of_code(CODE.replace(old, new), tmp_path), f"{old} as {new}"


def test_a_value_that_looks_like_a_docstring_counts_where_it_is_used(tmp_path: Path) -> None:
    first, second = ('text = """A module."""\n', 'text = """Another."""\n')
    assert of_code(first, tmp_path) != of_code(second, tmp_path)


@pytest.mark.parametrize("path", PROJECT_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_printed_anew_from_its_tree_has_the_fingerprint_of_the_original(
    path: Path, tmp_path: Path
) -> None:
    code = path.read_text(encoding="utf-8")
    (tmp_path / "code.py").write_text(code, encoding="utf-8")
    (tmp_path / "anew.py").write_text(ast.unparse(ast.parse(code)), encoding="utf-8")
    assert _own(tmp_path, "code.py") == _own(tmp_path, "anew.py")


def _own(folder: Path, name: str) -> str:
    """A file's own fingerprint, whatever it imports (nothing of which lies in the folder)."""
    return code_fingerprints([folder / name], folder)[name]


_EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "None", "...", "()", "[]", "{}"])
    | st.integers(0, 3).map(str)
    | st.floats(0, 2).map(repr)
    | st.sampled_from(["a", "b", "", "(Name id='x')"]).map(repr)
    | st.sampled_from([b"a", b""]).map(repr),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "@", "and", "or", "<", "is"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.lists(inner, max_size=3).map(lambda parts: f"[{', '.join(parts)}]"),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({', '.join(parts)},)"),
        st.lists(inner, max_size=2).map(lambda parts: f"x({', '.join(parts)})"),
        st.lists(st.tuples(inner, inner), max_size=2).map(
            lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
        ),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        inner.map(lambda part: f"(lambda: {part})"),
        inner.map(lambda part: f"(not {part})"),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(first=_EXPRESSIONS, second=_EXPRESSIONS)
def test_two_expressions_share_a_fingerprint_exactly_if_they_share_a_syntax_tree(
    first: str, second: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    trees = [ast.dump(ast.parse(f"value = {code}")) for code in (first, second)]
    digests = [of_code(f"value = {code}\n", folder) for code in (first, second)]
    assert (trees[0] == trees[1]) == (digests[0] == digests[1])


@settings(max_examples=100, deadline=None)
@given(lines=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["", "# a word", "    # x = 1"]))))
def test_lines_without_code_can_stand_anywhere(
    lines: list[tuple[int, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    code = CODE.splitlines()
    for place, line in lines:
        code.insert(min(place, len(code)), line)
    assert of_code("\n".join(code) + "\n", folder) == of_code(CODE, folder)


def test_imports_are_followed_at_any_depth(tree: Tree) -> None:
    files = {
        "submissions/a.py": "import submissions.b\n",
        "submissions/b.py": "from benchmark import c\n",
        "benchmark/__init__.py": "",
        "benchmark/c.py": "from baselines.d import thing\n",
        "baselines/__init__.py": "",
        "baselines/d/__init__.py": "thing = 1\n",
        "benchmark/unrelated.py": "x = 1\n",
    }
    before = prints(tree(files))
    assert set(before) == set(files) - {"benchmark/unrelated.py"}
    after = prints(tree({**files, "baselines/d/__init__.py": "thing = 2\n"}))
    assert {name for name in before if before[name] != after[name]} == {"baselines/d/__init__.py"}


@pytest.mark.parametrize(
    "line, found",
    [
        ("from . import b", "submissions/m/b.py"),
        ("from .b import x", "submissions/m/b.py"),
        ("from .. import top", "submissions/top.py"),
        ("from ..top import x", "submissions/top.py"),
        ("from ..other.c import x", "submissions/other/c.py"),
        ("from .deep import e", "submissions/m/deep/e.py"),
        ("from .b import *", "submissions/m/b.py"),
        ("import submissions.m.b as other", "submissions/m/b.py"),
        ("def f():\n    from .b import x", "submissions/m/b.py"),
        ("try:\n    from .b import x\nexcept ImportError:\n    x = 0", "submissions/m/b.py"),
    ],
)
def test_relative_late_and_starred_imports_are_followed(line: str, found: str, tree: Tree) -> None:
    files = dict.fromkeys(
        ("submissions/m/b.py", "submissions/top.py", "submissions/other/c.py", "submissions/m/deep/e.py"),
        "x = 1\n",
    )
    root = tree({**files, "submissions/m/a.py": f"{line}\n"})
    assert set(prints(root, "submissions/m/a.py")) == {"submissions/m/a.py", found}


def test_a_relative_import_of_a_package_starts_at_the_package(tree: Tree) -> None:
    root = tree(
        {
            "submissions/a.py": "from submissions import m\n",
            "submissions/m/__init__.py": "from .b import x\n",
            "submissions/m/b.py": "x = 1\n",
            "submissions/b.py": "x = 2\n",
        }
    )
    assert set(prints(root)) == {"submissions/a.py", "submissions/m/__init__.py", "submissions/m/b.py"}


def test_imports_that_go_round_in_circles_end(tree: Tree) -> None:
    root = tree({"submissions/a.py": "import submissions.b\n", "submissions/b.py": "import submissions.a\n"})
    assert set(prints(root)) == {"submissions/a.py", "submissions/b.py"}


def test_imports_from_elsewhere_are_left_alone(tree: Tree) -> None:
    root = tree({"submissions/a.py": "import torch\nfrom numpy import linalg\n", "torch.py": ""})
    assert set(prints(root)) == {"submissions/a.py"}


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_imports_for_type_checkers_only_do_not_count(test: str, tree: Tree) -> None:
    code = f"import typing\nfrom typing import TYPE_CHECKING\nif {test}:\n    from submissions.b import x\n"
    root = tree({"submissions/a.py": code, "submissions/b.py": "x = 1\n"})
    assert set(prints(root)) == {"submissions/a.py"}


@pytest.mark.parametrize(
    "block",
    [
        "if TYPE_CHECKING:\n    pass\nelse:\n    from submissions.b import x\n",
        "if not TYPE_CHECKING:\n    from submissions.b import x\n",
    ],
)
def test_what_runs_when_no_type_checker_looks_does_count(block: str, tree: Tree) -> None:
    code = f"from typing import TYPE_CHECKING\n{block}"
    root = tree({"submissions/a.py": code, "submissions/b.py": "x = 1\n"})
    assert "submissions/b.py" in prints(root), "an import that runs is left out of the fingerprint"


def test_a_file_that_starts_with_a_byte_order_mark_is_read_as_python_reads_it(tree: Tree) -> None:
    plain, marked = tree({"submissions/a.py": "x = 1\n"}), tree({"submissions/a.py": "\ufeffx = 1\n"})
    assert prints(plain) == prints(marked)


def test_a_file_that_changes_is_read_again(tree: Tree) -> None:
    root = tree({"submissions/a.py": "x = 1\n"})
    before = prints(root)
    (root / "submissions/a.py").write_text("x = 1  # the same\n", encoding="utf-8")
    assert prints(root) == before
    (root / "submissions/a.py").write_text("x = 2  # not same\n", encoding="utf-8")
    assert prints(root) != before
