"""A file in baselines/ or submissions/ is all there is to registering a method."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmark.errors import MethodError
from benchmark.isolation.submitted import Offer, offers_of_files
from benchmark.methods.artefact import ARTEFACT
from benchmark.running.registry import Registry, find_methods

ROOT = Path(__file__).resolve().parents[2]

METHOD = """\
from benchmark.api import Attack, Forgery


class Mine(Attack):
    name = "{name}"
    paper = "made for a test"
    {extra}

    def forge(self, case):
        return Forgery(case.inputs)
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {name: module for name, module in sys.modules.items() if name.startswith("submissions")}
    for name in before:
        del sys.modules[name]
    (tmp_path / "baselines").mkdir()
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("submissions")]:
        del sys.modules[name]
    sys.modules.update(before)


def add(root: Path, name: str, extra: str = "", folder: str = "", code: str = METHOD) -> None:
    """Adds a submission."""
    file = root / "submissions" / (folder or name) / "method.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(code.format(name=name, extra=extra), encoding="utf-8")


def variants(registry: Registry) -> list[str]:
    """Names of all variants."""
    return [entry.variant for entry in registry.entries]


def test_the_projects_own_methods_are_all_found() -> None:
    registry = find_methods(ROOT)
    assert registry.problems == ()
    names = {entry.name for entry in registry.entries}
    assert {"dombrowski", "ghorbani_topk", "identity", "random_noise", "copy_target"} <= names
    assert {"none", "beta_smoothing", "smoothgrad", "random", "always", "never"} <= names
    assert len(set(variants(registry))) == len(registry.entries)


def test_a_file_is_all_there_is_to_registering(root: Path) -> None:
    add(root, "mine")
    registry = find_methods(root)
    assert variants(registry) == ["mine"]
    assert registry.entries[0].file == root / "submissions" / "mine" / "method.py"


def test_a_grid_of_settings_makes_one_variant_each(root: Path) -> None:
    add(root, "grid", 'params = {{"a": [1, 2.5], "b": ["x"]}}'.replace("{{", "{").replace("}}", "}"))
    assert variants(find_methods(root)) == ["grid[a=1,b=x]", "grid[a=2.5,b=x]"]


def test_a_bare_name_chooses_all_variants_and_a_full_name_one(root: Path) -> None:
    add(root, "grid", 'params = {"a": [1, 2]}')
    add(root, "mine")
    registry = find_methods(root)
    assert [entry.variant for entry in registry.attacks(["grid"])] == ["grid[a=1]", "grid[a=2]"]
    assert [entry.variant for entry in registry.attacks(["grid[a=2]"])] == ["grid[a=2]"]
    assert len(registry.attacks()) == 3


@pytest.mark.parametrize("values", ["[1.0000001, 1.0000002]", "[1, 1.0]", "[1, True]"])
def test_two_variants_that_read_the_same_are_refused(values: str, root: Path) -> None:
    """Their cells would share an id: one's results would pass for the other's."""
    add(root, "grid", f'params = {{"a": {values}}}')
    try:
        registry = find_methods(root)
    except MethodError as error:
        assert "grid" in str(error)
    else:
        found = variants(registry)
        assert registry.problems or len(set(found)) == len(found), f"two variants are called {found}"


def test_two_baselines_of_one_name_are_an_error_that_names_both_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("__init__", "first", "second"):
        code = "" if file == "__init__" else METHOD.format(name="mine", extra="")
        (root / "baselines" / f"{file}.py").write_text(code)
    for name in [name for name in sys.modules if name.split(".")[0] == "baselines"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MethodError) as raised:
        find_methods(root)
    for part in ("'mine'", "baselines/first.py", "baselines/second.py"):
        assert part in str(raised.value)


def test_submissions_of_one_name_are_left_out_and_harm_no_other(root: Path) -> None:
    add(root, "other")
    add(root, "mine")
    add(root, "mine", folder="yours")
    registry = find_methods(root)
    assert variants(registry) == ["mine", "other"], "the name is that of the folder"
    (yours,) = registry.problems
    assert yours.reason == "submissions/mine/method.py has a method named 'mine' too: rename yours"


def test_two_submissions_that_take_a_name_that_neither_folder_has_are_both_left_out(root: Path) -> None:
    add(root, "mine", folder="first")
    add(root, "mine", folder="second")
    registry = find_methods(root)
    assert variants(registry) == []
    assert len(registry.problems) == 2 and all("rename yours" in p.reason for p in registry.problems)


def test_a_loose_file_takes_no_folders_name(root: Path) -> None:
    add(root, "good")
    (root / "submissions" / "good.py").write_text(METHOD.format(name="good", extra=""), encoding="utf-8")
    registry = find_methods(root)
    assert [(e.variant, e.file.name) for e in registry.entries] == [("good", "method.py")]
    assert [(p.file, "rename yours" in p.reason) for p in registry.problems] == [
        ("submissions/good.py", True)
    ]


def test_files_of_forgeries_keep_their_name(root: Path) -> None:
    add(root, "forged", folder="thief")
    (root / "submissions" / "forged").mkdir()
    (root / "submissions" / "forged" / ARTEFACT).write_text("tasks: {}\n", encoding="utf-8")
    problems = {p.file: p.reason for p in find_methods(root).problems}
    assert problems["submissions/thief/method.py"] == (
        f"submissions/forged/{ARTEFACT} hands in forgeries as 'forged': rename yours"
    )
    assert "rename" not in problems.get(f"submissions/forged/{ARTEFACT}", "")


def test_a_file_right_below_submissions_that_is_nobodys_is_told(root: Path) -> None:
    add(root, "good")
    (root / "submissions" / "__init__.py").write_text("raise SystemExit\n", encoding="utf-8")
    registry = find_methods(root)
    assert variants(registry) == ["good"]
    assert [p.file for p in registry.problems] == ["submissions/__init__.py"]


@pytest.mark.parametrize(
    "code, reason",
    [
        ("def f(:", "SyntaxError"),
        ("import nothing_of_the_kind", "No module named 'nothing_of_the_kind'"),
        ("1 / 0", "ZeroDivisionError"),
        ("raise SystemExit(0)", "called exit(0) before it returned"),
        ("import os; os._exit(0)", "ended its process before it returned"),
    ],
)
def test_a_file_that_cannot_be_loaded_is_a_problem_and_harms_no_other(
    code: str, reason: str, root: Path
) -> None:
    add(root, "mine")
    add(root, "broken", code=code)
    try:
        registry = find_methods(root)
    except SystemExit:
        pytest.fail("a file ends the program when it is imported")
    assert variants(registry) == ["mine"]
    (problem,) = registry.problems
    assert problem.file == "submissions/broken/method.py"
    assert reason in problem.reason


@pytest.mark.parametrize(
    "files",
    [
        {"method.py": ""},
        {"method.py": "from benchmark.api import Attack"},
        {"card.yaml": "title: nothing yet\n"},
        {},
    ],
)
def test_a_folder_without_a_method_is_a_problem(files: dict[str, str], root: Path) -> None:
    add(root, "mine")
    (root / "submissions" / "bare").mkdir()
    (root / "submissions" / "README.md").write_text("belongs to nobody\n")
    for name, text in files.items():
        (root / "submissions" / "bare" / name).write_text(text)
    registry = find_methods(root)
    assert variants(registry) == ["mine"]
    (problem,) = registry.problems
    assert problem.file == "submissions/bare"
    lacks = "defines no method" if "method.py" in files else "has no method.py"
    assert problem.reason.startswith(lacks)
    assert find_methods(root, ["mine"]).problems == ()
    with pytest.raises(MethodError, match=f"bare could not be loaded: {lacks}"):
        registry.attacks(["bare"])


@pytest.mark.parametrize("missing", ["name", "paper"])
def test_a_method_without_a_name_or_a_paper_is_a_problem(missing: str, root: Path) -> None:
    add(root, "mine", code=METHOD.replace(f"    {missing} =", "    other ="))
    registry = find_methods(root)
    assert registry.entries == ()
    assert f'class Mine needs a class attribute {missing} = "..."' in registry.problems[0].reason


def test_classes_that_a_file_imports_or_leaves_abstract_are_not_its_methods(root: Path) -> None:
    add(root, "mine")
    add(
        root,
        "other",
        code="from benchmark.api import Attack\nfrom baselines.controls.identity import Identity\n"
        "class Base(Attack):\n    name = 'base'\n    paper = 'none'\n",
    )
    registry = find_methods(root)
    assert variants(registry) == ["mine"]
    assert [problem.file for problem in registry.problems] == ["submissions/other"]


def test_a_misspelt_method_of_a_class_is_named(root: Path) -> None:
    add(root, "mine", code=METHOD.replace("def forge", "def forg"))
    (problem,) = find_methods(root).problems
    assert problem.reason == "class Mine has forg() and lacks forge(): rename it"


def test_an_unknown_setting_is_refused(root: Path) -> None:
    add(root, "mine")
    method = find_methods(root).entries[0].method
    with pytest.raises(TypeError, match="mine has no setting 'betta'"):
        method(betta=1)


def test_an_unknown_name_suggests_the_closest(root: Path) -> None:
    add(root, "mine")
    registry = find_methods(root)
    with pytest.raises(MethodError, match=r"unknown attack 'mien'; did you mean 'mine'\?"):
        registry.attacks(["mien"])
    with pytest.raises(MethodError, match="unknown attack 'zzzzz'; known: mine"):
        registry.attacks(["zzzzz"])
    with pytest.raises(MethodError, match="unknown defense 'mine'"):
        registry.defenses(["mine"])


def test_a_method_whose_file_is_broken_is_asked_for_in_vain_with_the_reason(root: Path) -> None:
    add(root, "broken", code="def f(:")
    registry = find_methods(root)
    with pytest.raises(MethodError, match=r"submissions/broken/method\.py could not be loaded: SyntaxError"):
        registry.attacks(["broken"])


# A submission's folder is data: what is odd about it is one line, and all others are found.


def _links(folder: Path) -> None:
    (folder / "helper.py").symlink_to("/proc/self/mem")


def _pipe(folder: Path) -> None:
    (folder / "method.py").unlink()
    os.mkfifo(folder / "method.py")


def _tags(folder: Path) -> None:
    (folder / "method.py").unlink()
    (folder / "artefact.yaml").write_text("tasks: !!bool perhaps\n")


def _escapes(folder: Path) -> None:
    (folder / "method.py").write_text("raise ValueError('\\x1b[2J\\nOWNED \\u202e')\n")


def _bytes(folder: Path) -> None:
    (folder / "method.py").write_bytes(b"x = 1\0\xff\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_links, "broken/helper.py is a link"),
        (_pipe, "broken/method.py is a pipe"),
        (_tags, "tags such as !!bool are not read"),
        (_escapes, "ValueError: OWNED"),
        (_bytes, "null bytes"),
    ],
)
def test_an_odd_folder_is_one_printable_line(spoil: Callable[[Path], None], told: str, root: Path) -> None:
    add(root, "mine")
    add(root, "broken")
    spoil(root / "submissions" / "broken")
    registry = find_methods(root)
    assert variants(registry) == ["mine"]
    (problem,) = registry.problems
    assert problem.file.startswith("submissions/broken") and told in problem.reason
    assert problem.file.isprintable() and problem.reason.isprintable()


def test_a_folder_elsewhere_is_not_entered(root: Path, tmp_path: Path) -> None:
    add(root, "mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "method.py").write_text(METHOD.format(name="far", extra=""))
    (root / "submissions" / "far").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "submissions" / "new\nline").mkdir()
    registry = find_methods(root)
    assert variants(registry) == ["mine"]
    assert sorted(problem.file for problem in registry.problems) == [
        "submissions/far",
        "submissions/new line",
    ]


def test_submissions_that_were_not_asked_for_are_not_run_and_not_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(root, "mine")
    add(root, "other")
    add(root, "broken", code="def f(:")
    add(root, "other", folder="mine.x")
    (root / "submissions" / "loose.py").write_text("1 / 0")
    asked: list[str] = []

    def noting(files: list[Path], *rest: object) -> Iterator[tuple[Path, list[Offer] | MethodError]]:
        asked.extend(file.parent.name for file in files)
        return offers_of_files(files, root)

    monkeypatch.setattr("benchmark.running.registry.offers_of_files", noting)
    registry = find_methods(root, {"mine"})
    assert (variants(registry), registry.problems, asked) == (["mine"], (), ["mine"])
    assert variants(find_methods(root, set())) == []


def test_a_name_that_its_folder_does_not_have_is_found_all_the_same(root: Path) -> None:
    add(root, "mine", folder="elsewhere")
    assert variants(find_methods(root, {"mine"})) == ["mine"]
