"""Every track, and the class of its tasks, imported by name: tasks lie below the tracks that they are for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from benchmark.names import ByName

if TYPE_CHECKING:  # torch comes with it, and a list of suites does not wait for that
    from benchmark.tasks.parts import Task

TASK_CLASSES: ByName[str] = {
    "saliency": "SaliencyTask",
    "visualization": "VisualizationTask",
    "signature": "SignatureTask",
    "fairwashing": "FairwashingTask",
}
"""Every track, and the name of its tasks' class."""


def task_class(track: str) -> type[Task]:
    """The class of a track's tasks."""
    module = import_module(f"benchmark.tracks.{track}.task")
    return cast("type[Task]", getattr(module, TASK_CLASSES[track]))
