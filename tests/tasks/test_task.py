"""A wrong task is told by file, field and fix, and harms no other task."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import SUITE, TASKS, Project, Result

from benchmark.errors import TaskError
from benchmark.tasks.parts import Task
from benchmark.tasks.task import load_suite, load_suites, load_task

ROOT = Path(__file__).resolve().parents[2]
FIELDS: dict[str, Any] = {
    "version": 1,
    "title": "two images",
    "track": "saliency",
    "victim": "fashion-small",
    "data": "fashion-mnist",
    "explainer": {"name": "gradient"},
    "cases": 2,
    "budget": {"linf": "16/255"},
}
FILE = "tasks/saliency/mine.yaml"


def write(root: Path, text: str, file: str = FILE) -> None:
    """Writes a file of a project whose victims and data are the real ones."""
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    for name in ("victims.yaml", "datasets.yaml"):
        if not (root / "tasks" / name).exists():
            (root / "tasks" / name).symlink_to(ROOT / "tasks" / name)
    (root / file).write_text(text, encoding="utf-8")


def load(root: Path, **changes: Any) -> Task:
    """A task with some fields changed, or left out where they are ``...``."""
    fields = {key: value for key, value in {**FIELDS, **changes}.items() if value is not ...}
    write(root, yaml.safe_dump(fields))
    return load_task("saliency/mine", root)


def complaint(root: Path, **changes: Any) -> str:
    """What is said about a task with some fields changed."""
    with pytest.raises(TaskError) as raised:
        load(root, **changes)
    message = str(raised.value)
    assert message.startswith(f"{FILE}: "), "the message names the file first"
    assert "\n" not in message, "the message is one line"
    assert "pydantic" not in message
    return message


def test_a_task_needs_few_fields_and_has_its_files_name(tmp_path: Path) -> None:
    task = load(tmp_path)
    assert (task.id, task.seeds, task.precision) == ("saliency/mine", [0], "float32")


@pytest.mark.parametrize("text", ["16/255", "16 / 255", 16 / 255])
def test_a_budget_is_a_number_or_a_fraction(text: object, tmp_path: Path) -> None:
    assert load(tmp_path, budget={"linf": text}).budget.linf == pytest.approx(16 / 255, abs=1e-15)


@pytest.mark.parametrize(
    "value",
    [
        "sixteen",
        "16/0",
        "16//255",
        "",
        "0.0627",
        True,
        "1e400",
        0,
        -0.1,
        1.5,
        "300/255",
        [16, 255],
        float("nan"),
    ],
)
def test_a_budget_that_is_none_is_refused_by_field(value: object, tmp_path: Path) -> None:
    assert "field budget.linf: " in complaint(tmp_path, budget={"linf": value})


@pytest.mark.parametrize(
    ("budget", "found"),
    [
        ({}, "none is given"),
        ({"linf": None}, "none is given"),
        ({"linf": 0.1, "flow": 1.0}, "linf and flow are given"),
    ],
)
def test_a_budget_is_of_one_kind(budget: dict[str, object], found: str, tmp_path: Path) -> None:
    told = complaint(tmp_path, budget=budget)
    assert f"field budget: name one kind of budget, linf, l2, patch or flow: {found}" in told


@pytest.mark.parametrize(
    "changes, field, hint",
    [
        ({"victm": "x"}, "victm", "did you mean 'victim'?"),
        ({"explainr": {"name": "lrp"}}, "explainr", "did you mean 'explainer'?"),
        ({"budget": {"linf": 0.1, "explanatons": 3}}, "budget.explanatons", "did you mean 'explanations'?"),
        ({"metrics": {"primry": "pcc_target"}}, "metrics.primry", "did you mean 'primary'?"),
        ({"calibration": {"image": 3}}, "calibration.image", "did you mean 'images'?"),
        ({"limits": {"memory": 3}}, "limits.memory", "memory_gb"),
        ({"zzz": 1}, "zzz", "known: "),
    ],
)
def test_a_misspelt_field_is_told_with_the_right_spelling(
    changes: dict[str, Any], field: str, hint: str, tmp_path: Path
) -> None:
    message = complaint(tmp_path, **changes)
    assert f"field {field}: unknown field" in message
    assert hint in message


@pytest.mark.parametrize(
    "field", ["version", "title", "track", "victim", "data", "explainer", "cases", "budget"]
)
def test_a_missing_field_is_told_by_name(field: str, tmp_path: Path) -> None:
    assert f"field {field}: missing; add it" in complaint(tmp_path, **{field: ...})


def test_a_missing_field_of_a_part_is_told_by_its_path(tmp_path: Path) -> None:
    assert "field explainer.name: missing; add it" in complaint(tmp_path, explainer={"settings": {}})


@pytest.mark.parametrize(
    "changes, field, value",
    [
        ({"cases": "many"}, "cases", "'many'"),
        ({"cases": 0}, "cases", "0"),
        ({"cases": 2.5}, "cases", "2.5"),
        ({"budget": {"linf": "1/0"}}, "budget.linf", "'1/0'"),
        ({"seeds": [0, 0]}, "seeds", "[0, 0]"),
        ({"seeds": [True]}, "seeds.0", "True"),
        ({"version": 0}, "version", "0"),
        ({"title": ["a", "b"]}, "title", "['a', 'b']"),
        ({"explainer": "gradient"}, "explainer", "'gradient'"),
        ({"seeds": []}, "seeds", "[]"),
        ({"seeds": ["a"]}, "seeds.0", "'a'"),
        ({"precision": "float16"}, "precision", "'float16'"),
        ({"track": "sound"}, "track", "'sound'"),
        ({"metrics": {"primary": "mse_target"}}, "metrics.primary", "'mse_target'"),
        ({"metrics": {"report": ["psnr"]}}, "metrics.report.0", "'psnr'"),
        ({"calibration": {"false_positive_rate": 1.0}}, "calibration.false_positive_rate", "1.0"),
        ({"limits": {"seconds": -1}}, "limits.seconds", "-1"),
        ({"target": {"kind": "fixed"}}, "target.kind", "'fixed'"),
    ],
)
def test_a_value_that_cannot_be_is_told_by_field_and_value(
    changes: dict[str, Any], field: str, value: str, tmp_path: Path
) -> None:
    message = complaint(tmp_path, **changes)
    assert f"field {field}: " in message
    assert f"it is {value}" in message
    assert not re.search("Input should|Value error|List should|String should", message), "a library's words"


def test_every_wrong_field_is_told_at_once(tmp_path: Path) -> None:
    message = complaint(tmp_path, cases=0, victim=..., titel="x")
    for field in ("cases", "victim", "titel"):
        assert f"field {field}: " in message


@pytest.mark.parametrize(
    "changes, field, hint",
    [
        ({"victim": "fashion-smal"}, "victim", "did you mean 'fashion-small'?"),
        ({"data": "fashion-mnst"}, "data", "did you mean 'fashion-mnist'?"),
        ({"explainer": {"name": "gradint"}}, "explainer.name", "did you mean 'gradient'?"),
        ({"victim": "qqq"}, "victim", "known: "),
    ],
)
def test_an_unknown_victim_data_set_or_explainer_is_told_with_the_closest_one(
    changes: dict[str, Any], field: str, hint: str, tmp_path: Path
) -> None:
    message = complaint(tmp_path, **changes)
    assert f"field {field}: unknown name" in message
    assert hint in message


def test_an_id_in_the_file_is_refused(tmp_path: Path) -> None:
    assert "remove it" in complaint(tmp_path, id="saliency/other")


def test_the_primary_metric_has_to_be_reported(tmp_path: Path) -> None:
    message = complaint(tmp_path, metrics={"primary": "ssim_target", "report": ["pcc"]})
    assert "metrics" in message and "ssim" in message


def test_an_explainers_unknown_setting_is_told_with_the_task(tmp_path: Path) -> None:
    message = complaint(tmp_path, explainer={"name": "gradient", "settings": {"smaples": 3}})
    assert "smaples" in message


@pytest.mark.parametrize(
    "text, hint",
    [
        ("version: 1\n  title: x\n", "is not valid YAML"),
        ("version: [1\n", "is not valid YAML"),
        ("- version\n- title\n", "must be a mapping of fields"),
        ("", "must be a mapping of fields"),
        ("version: 1\n\ttitle: x\n", "is not valid YAML"),
        ("1: 2\n", "1"),
    ],
)
def test_a_file_that_is_no_mapping_is_told_by_name(text: str, hint: str, tmp_path: Path) -> None:
    write(tmp_path, text)
    with pytest.raises(TaskError) as raised:
        load_task("saliency/mine", tmp_path)
    assert FILE in str(raised.value) and hint in str(raised.value)


def test_a_file_that_is_not_text_is_told_by_name(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / FILE).write_bytes(b"title: \xff\xfe\n")
    with pytest.raises(TaskError, match=r"mine\.yaml"):
        load_task("saliency/mine", tmp_path)


def test_an_unknown_task_or_suite_is_told_with_the_closest_one() -> None:
    with pytest.raises(TaskError, match=r"unknown task 'saliency/gradient-61'.*did you mean"):
        load_task("saliency/gradient-61", ROOT)
    with pytest.raises(TaskError, match=r"unknown suite 'smok': did you mean 'smoke'\?"):
        load_suite("smok", ROOT)


@pytest.mark.parametrize(
    "text, hint",
    [
        (
            "tiny:\n  titel: x\n  tasks: [a/b]\n",
            "field title: missing; add it; field titel: unknown field 'titel': did you mean 'title'?",
        ),
        ("tiny:\n  title: x\n  tasks: [a/b]\n  sedes: [0]\n", "field sedes: unknown field 'sedes': did you"),
        ("tiny:\n", "suite 'tiny': must be a mapping of fields (title, tasks); it is nothing"),
        ("tiny:\n  title: x\n  tasks: a/b\n", "field tasks: must be a list; it is 'a/b'"),
        ("tiny:\n  title: x\n  tasks: []\n", "field tasks: is empty"),
        ("tiny:\n  title: x\n  tasks: [a/b]\n  seeds: [0, 0]\n", "names 0 twice"),
        ("tiny:\n  title: x\n  tasks: [a/b]\n  seeds: []\n", "field seeds: "),
        ("tiny: [a\n", "is not valid YAML"),
    ],
)
def test_a_wrong_list_of_suites_is_told_by_suite_and_field(text: str, hint: str, tmp_path: Path) -> None:
    write(tmp_path, text, "tasks/suites.yaml")
    with pytest.raises(TaskError) as raised:
        load_suites(tmp_path)
    assert "tasks/suites.yaml" in str(raised.value) and hint in str(raised.value)


def test_seeds_of_a_suite_take_the_place_of_its_tasks_and_change_no_id(tmp_path: Path) -> None:
    own = load(tmp_path)
    suites = {"many": {"title": "x", "tasks": [own.id], "seeds": [0, 1, 2]}}
    write(tmp_path, yaml.safe_dump(suites), "tasks/suites.yaml")
    (task,) = load_suite("many", tmp_path).tasks
    assert (own.seeds, task.seeds) == ([0], [0, 1, 2])
    assert (task.run_identity(), task.score_identity()) == (own.run_identity(), own.score_identity())


def test_a_wrong_task_harms_no_other_task_of_its_suite(tmp_path: Path) -> None:
    load(tmp_path)
    write(tmp_path, yaml.safe_dump({**FIELDS, "cases": 0}), "tasks/saliency/wrong.yaml")
    suites = {"both": {"title": "x", "tasks": ["saliency/wrong", "saliency/mine", "saliency/none"]}}
    write(tmp_path, yaml.safe_dump(suites), "tasks/suites.yaml")
    suite = load_suite("both", tmp_path)
    assert [task.id for task in suite.tasks] == ["saliency/mine"]
    assert len(suite.problems) == 2
    assert suite.problems[0].startswith("tasks/saliency/wrong.yaml: field cases: ")
    assert "unknown task 'saliency/none'" in suite.problems[1]


def test_every_task_of_the_project_can_be_read() -> None:
    for name in load_suites(ROOT):
        assert load_suite(name, ROOT).problems == ()


def test_what_a_run_depends_on_changes_its_identity_and_nothing_else_does(tmp_path: Path) -> None:
    base = load(tmp_path)
    for changes in (
        {"title": "x"},
        {"limits": {"seconds": 3}},
        {"metrics": {"report": ["pcc"]}},
        {"constraints": {"prediction_kept": False}},
        {"calibration": {"false_positive_rate": 0.1}},
        {"seeds": [3]},
    ):
        assert load(tmp_path, **changes).run_identity() == base.run_identity(), changes
    for changes in (
        {"version": 2},
        {"cases": 3},
        {"batch": 1},
        {"victim": "fashion-base"},
        {"budget": {"linf": 0.1}},
        {"budget": {"linf": "16/255", "explanations": 3}},
        {"precision": "float64"},
        {"explainer": {"name": "lrp"}},
        {"calibration": {"images": 3}},
    ):
        assert load(tmp_path, **changes).run_identity() != base.run_identity(), changes


# On the command line: one task of two is wrong.


def planned_with_a_wrong_task(project: Project, fragment: str) -> Result:
    """``plan`` of a suite one of whose tasks is wrong."""
    result = project.run("plan")
    result.assert_no_traceback()
    assert result.code == 1
    assert len(result.messages_with(fragment)) == 1, result.err
    return result


def test_the_command_line_tells_a_wrong_task_in_one_line_and_plans_the_others(fresh: Project) -> None:
    fresh.edit(f"tasks/{TASKS[0]}.yaml", "cases: 2", "caess: 2")
    result = planned_with_a_wrong_task(fresh, f"tasks/{TASKS[0]}.yaml: field ")
    assert "did you mean 'cases'?" in result.err
    count = int(result.last_line.removeprefix("plan: ").split()[0])
    assert count > 20, "the other task is planned"
    assert result.last_line.endswith("; 1 task could not be read")


@pytest.mark.parametrize("command", ["run", "score", "board"])
def test_a_suite_none_of_whose_tasks_can_be_read_has_no_board_and_no_traceback(
    command: str, fresh: Project
) -> None:
    for task in TASKS:
        fresh.edit(f"tasks/{task}.yaml", "cases: 2", "cases: 2\nseeds: [18446744073709551616]")
    result = fresh.run(command)
    result.assert_no_traceback()
    assert result.code == 1
    for task in TASKS:
        assert result.messages_with(f"tasks/{task}.yaml: field seeds.0: ")
    assert result.messages_with("no board: no task of suite tiny could be read")


@pytest.fixture(scope="module")
def damaged(untouched: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """Runs of a suite one of whose tasks has a victim whose file is missing, another one, then restored."""
    project = untouched.copy(tmp_path_factory.mktemp("damaged") / "project")
    assets = project.root / "tasks" / "assets"
    real = assets.resolve() / "fashion-mnist"
    assets.unlink()
    (assets / "fashion-mnist").mkdir(parents=True)
    for path in real.iterdir():
        if path.name != "small.safetensors":
            (assets / "fashion-mnist" / path.name).symlink_to(path)
    project.edit(f"tasks/{TASKS[1]}.yaml", "fashion-small", "fashion-base")
    options = ("run", "--attack", "push", "--attack", "identity", "--defense", "none")
    file = assets / "fashion-mnist" / "small.safetensors"
    results = {"missing": project.run(*options)}
    file.write_bytes(b"something else")
    results["wrong"] = project.run(*options)
    file.unlink()
    file.symlink_to(real / "small.safetensors")
    results["restored"] = project.run(*options)
    return results


def test_a_missing_asset_is_told_with_its_fix_and_harms_no_other_task(damaged: dict[str, Result]) -> None:
    result = damaged["missing"]
    result.assert_no_traceback()
    lines = result.messages_with("small.safetensors")
    assert len(lines) == 1, result.err
    assert "missing file" in lines[0] and "git checkout" in lines[0] and "(task)" in lines[0]
    assert TASKS[0] in lines[0], "the message names the task"
    assert result.code == 1
    assert result.counts == {"run": 2, "cached": 0, "skipped": 0, "failed": 2}


def test_an_asset_that_is_not_the_promised_one_is_told_with_both_hashes(damaged: dict[str, Result]) -> None:
    result = damaged["wrong"]
    result.assert_no_traceback()
    lines = result.messages_with("small.safetensors")
    assert len(lines) == 1, f"two cells fail and nobody says why:\n{result.err}"
    assert "is not the promised file: expected sha256 " in lines[0] and "found " in lines[0]
    assert result.code == 1
    assert result.counts == {"run": 0, "cached": 2, "skipped": 0, "failed": 2}


def test_a_task_whose_asset_is_restored_runs(damaged: dict[str, Result]) -> None:
    result = damaged["restored"]
    assert result.code == 0, result.out + result.err
    assert result.counts == {"run": 2, "cached": 2, "skipped": 0, "failed": 0}


def test_the_suite_of_the_message_can_be_found(fresh: Project) -> None:
    result = fresh.call("plan", SUITE + "y")
    result.assert_no_traceback()
    assert result.code == 1
    assert "unknown suite 'tinyy': did you mean 'tiny'?" in result.err
