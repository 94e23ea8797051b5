"""A suite's name is the name of a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import TaskError
from benchmark.tasks.task import load_suite


@pytest.mark.parametrize("name", ["../x", "A b/c", "a/../b", "..", "."])
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    text = f'"{name}":\n  title: a title\n  tasks: [saliency/one]\n'
    (tmp_path / "tasks" / "suites.yaml").write_text(text)
    with pytest.raises(TaskError, match=r"tasks/suites.yaml: suite .*: name it in letters"):
        load_suite(name, tmp_path)
