"""A fingerprint changes with the code and with nothing else."""

from __future__ import annotations

import ast
import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.running.fingerprint import Code, Root, code_fingerprints
from benchmark.running.fingerprint.units import read_module

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


SUBMISSION = {
    "submissions/a/method.py": '"""Words."""\n',
    "submissions/a/helper.py": "# words\n",
    "submissions/a/card.yaml": "title: a",
    "submissions/a/README.md": "a",
    "submissions/a/.hidden": "a",
    "submissions/a/weights/first.safetensors": "1",
    "submissions/a/deep/er/loaded_by_name.py": "x = 1\n",
    "submissions/a/code.py.txt": "x = 1\n",
}


def submitted(root: Path) -> dict[str, str]:
    """Parts of an id that are of a submission."""
    return Code(root).parts([Root(root / "submissions/a/method.py")])


@pytest.mark.parametrize("file", SUBMISSION)
def test_every_byte_of_every_file_of_a_submission_counts(file: str, tree: Tree) -> None:
    others = {
        "submissions/b/method.py": "",
        "submissions/README.md": "",
    }
    root = tree(SUBMISSION | others)
    before = submitted(root)
    assert {name.partition(" ")[2] for name in before} == set(SUBMISSION)
    (root / file).write_text((root / file).read_text(encoding="utf-8") + " ", encoding="utf-8")
    after = submitted(root)
    assert {name.partition(" ")[2] for name in before if before[name] != after[name]} == {file}
    for other in others:
        (root / other).write_text("2", encoding="utf-8")
    assert submitted(root) == after


@pytest.mark.parametrize(
    "module",
    [
        "benchmark." + "a" * 300,
        "benchmark." + "é" * 250,
        "benchmark" + ".a" * 30_000,
        "submissions.a" + ".b" * 31,
    ],
)
def test_names_that_no_file_has_are_followed_nowhere_and_in_no_time(module: str, tree: Tree) -> None:
    code = f"def never():\n    import {module}\n    from {module} import x\n"
    root = tree({"submissions/a/method.py": code})
    started = time.process_time()
    ast.parse(code)  # takes Python's parser a second by itself where names have thousands of parts
    parsed = time.process_time()
    assert set(submitted(root)) == {"code submissions/a/method.py"}
    assert (time.process_time() - parsed) - (parsed - started) < 0.8


def test_links_and_files_that_nobody_may_read_harm_no_fingerprint(tree: Tree) -> None:
    root = tree({"submissions/a/method.py": "", "tasks/x": "1"})
    folder = root / "submissions" / "a"
    for name, target in (("in", "../../tasks/x"), ("out", "/dev/zero"), ("loop", "loop"), ("up", "..")):
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.py")
    before = submitted(root)
    assert len(before) == 6
    (root / "tasks/x").write_text("2", encoding="utf-8")
    after = submitted(root)
    assert {name for name in before if before[name] != after[name]} == {"file submissions/a/in"}


@pytest.mark.parametrize(
    "code",
    [
        "x = y" + ".a()" * 3000,
        "if a:\n    x = 1\n" + "".join(f"elif a == {n}:\n    x = {n}\n" for n in range(2000)),
        "x = " + "(" * 5000 + ")" * 5000,
        "x = " + "-" * 20000 + "1",
        "x = " + " + ".join(["1"] * 20000),
        "x = 0x" + "f" * 9000,
        "x = " + "9" * 9000,
        "x = '\\ud800'",
        "x = 1\0",
        "def f(:",
        "\udcff",
        "x = " + "[" * 150 + "]" * 150,
    ],
)
@pytest.mark.parametrize("file", ["submissions/a/method.py", "baselines/a.py"])
def test_code_that_is_odd_has_a_fingerprint_that_changes_with_it(file: str, code: str, tree: Tree) -> None:
    root = tree({"baselines/__init__.py": ""})
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_bytes(code.encode("utf-8", "surrogateescape"))
    before = prints(root, file)
    (root / file).write_bytes(
        code.replace("x", "z").replace("f(", "g(").encode("utf-8", "surrogateescape") + b"\n#"
    )
    assert file in before and prints(root, file)[file] != before[file]


def prints(root: Path, file: str = "baselines/a.py") -> dict[str, str]:
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
    one, other = (read_module(tmp_path / name, "").units for name in ("code.py", "anew.py"))
    assert [unit.digest for unit in one] == [unit.digest for unit in other]


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
        "baselines/a.py": "import baselines.b\nx = baselines.b.c.thing\n",
        "baselines/b.py": "from benchmark import c\n",
        "benchmark/__init__.py": "",
        "benchmark/c.py": "from baselines.d import thing\nother = 1\n",
        "baselines/__init__.py": "",
        "baselines/d/__init__.py": "thing = 1\nother = 1\n",
        "benchmark/unrelated.py": "x = 1\n",
    }
    before = prints(tree(files))
    assert set(before) == {"baselines/a.py", "baselines/b.py", "benchmark/c.py", "baselines/d/__init__.py"}
    after = prints(tree({**files, "baselines/d/__init__.py": "thing = 2\nother = 1\n"}))
    assert {name for name in before if before[name] != after[name]} == {"baselines/d/__init__.py"}
    assert prints(tree({**files, "baselines/d/__init__.py": "thing = 1\nother = 2\n"})) == before


@pytest.mark.parametrize(
    "line, found",
    [
        ("from . import b", "baselines/m/b.py"),
        ("from .b import x", "baselines/m/b.py"),
        ("from .. import top", "baselines/top.py"),
        ("from ..top import x", "baselines/top.py"),
        ("from ..other.c import x", "baselines/other/c.py"),
        ("from .deep import e", "baselines/m/deep/e.py"),
        ("from .b import *", "baselines/m/b.py"),
        ("import baselines.m.b as other", "baselines/m/b.py"),
        ("def f():\n    from .b import x", "baselines/m/b.py"),
        ("try:\n    from .b import x\nexcept ImportError:\n    x = 0", "baselines/m/b.py"),
    ],
)
def test_relative_late_and_starred_imports_are_followed(line: str, found: str, tree: Tree) -> None:
    files = dict.fromkeys(
        ("baselines/m/b.py", "baselines/top.py", "baselines/other/c.py", "baselines/m/deep/e.py"),
        "x = 1\n",
    )
    root = tree({**files, "baselines/m/a.py": f"{line}\n"})
    assert set(prints(root, "baselines/m/a.py")) == {"baselines/m/a.py", found}


def test_a_relative_import_of_a_package_starts_at_the_package(tree: Tree) -> None:
    root = tree(
        {
            "baselines/a.py": "from baselines import m\n",
            "baselines/m/__init__.py": "from .b import x\n",
            "baselines/m/b.py": "x = 1\n",
            "baselines/b.py": "x = 2\n",
        }
    )
    assert set(prints(root)) == {"baselines/a.py", "baselines/m/__init__.py", "baselines/m/b.py"}


def test_imports_that_go_round_in_circles_end(tree: Tree) -> None:
    root = tree({"baselines/a.py": "import baselines.b\n", "baselines/b.py": "import baselines.a\n"})
    assert set(prints(root)) == {"baselines/a.py", "baselines/b.py"}


def test_imports_from_elsewhere_are_left_alone(tree: Tree) -> None:
    root = tree({"baselines/a.py": "import torch\nfrom numpy import linalg\n", "torch.py": ""})
    assert set(prints(root)) == {"baselines/a.py"}


@pytest.mark.parametrize("test", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_imports_for_type_checkers_only_do_not_count(test: str, tree: Tree) -> None:
    code = f"import typing\nfrom typing import TYPE_CHECKING\nif {test}:\n    from baselines.b import x\n"
    root = tree({"baselines/a.py": code, "baselines/b.py": "x = 1\n"})
    assert set(prints(root)) == {"baselines/a.py"}


@pytest.mark.parametrize(
    "block",
    [
        "if TYPE_CHECKING:\n    pass\nelse:\n    from baselines.b import x\n",
        "if not TYPE_CHECKING:\n    from baselines.b import x\n",
    ],
)
def test_what_runs_when_no_type_checker_looks_does_count(block: str, tree: Tree) -> None:
    code = f"from typing import TYPE_CHECKING\n{block}"
    root = tree({"baselines/a.py": code, "baselines/b.py": "x = 1\n"})
    assert "baselines/b.py" in prints(root), "an import that runs is left out of the fingerprint"


def test_a_file_that_starts_with_a_byte_order_mark_is_read_as_python_reads_it(tree: Tree) -> None:
    plain, marked = tree({"baselines/a.py": "x = 1\n"}), tree({"baselines/a.py": "\ufeffx = 1\n"})
    assert prints(plain) == prints(marked)


def test_a_file_that_changes_is_read_again(tree: Tree) -> None:
    root = tree({"baselines/a.py": "x = 1\n"})
    before = prints(root)
    (root / "baselines/a.py").write_text("x = 1  # the same\n", encoding="utf-8")
    assert prints(root) == before
    (root / "baselines/a.py").write_text("x = 2  # not same\n", encoding="utf-8")
    assert prints(root) != before


STYLES = ("from benchmark.m{0} import f{0}", "from benchmark import m{0}", "import benchmark.m{0}")


@settings(max_examples=40, deadline=None)
@given(
    calls=st.lists(st.sets(st.integers(0, 7), max_size=3), min_size=8, max_size=8),
    changed=st.integers(0, 7),
    style=st.sampled_from(STYLES),
)  # fmt: skip
def test_a_constant_counts_exactly_where_calls_reach_it(
    calls: list[set[int]], changed: int, style: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Eight functions, two in a module, that call each other at random."""
    used = {"f": "f{1}()", "b": "m{0}.f{1}()", "i": "benchmark.m{0}.f{1}()"}
    call = used["i" if style.startswith("import") else "f" if "import f" in style else "b"]
    root = tmp_path_factory.mktemp("calls")
    (root / "benchmark").mkdir()
    (root / "benchmark" / "__init__.py").write_text("")

    def write(constants: list[int], unrelated: str) -> dict[str, str]:
        for module in range(4):
            text = f"def {unrelated}():\n    return 1\n\n"
            for own in (2 * module, 2 * module + 1):
                text += f"C{own} = {constants[own]}\n\ndef f{own}():\n"
                for other in sorted(calls[own]):
                    line = style.format(other // 2).replace(f"f{other // 2}", f"f{other}")
                    text += f"    {line}\n    {call.format(other // 2, other)}\n"
                text += f"    return C{own}\n\n"
            (root / "benchmark" / f"m{module}.py").write_text(text)
        return Code(root).parts([Root(root / "benchmark/m0.py", ("f0",))])

    reached, waiting = set[int](), [0]
    while waiting:
        at = waiting.pop()
        if at not in reached:
            reached.add(at)
            waiting.extend(calls[at])
    before = write([0] * 8, "unrelated")
    assert write([0] * 8, "renamed") == before
    assert (write([int(n == changed) for n in range(8)], "unrelated") != before) == (changed in reached)
