"""Every track, and the class of its tasks, imported by name: tasks lie below the tracks that they are for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from benchmark.names import ByName
from benchmark.tasks.parts import Task

TASK_CLASSES: ByName[str] = {
    "saliency": "SaliencyTask",
    "visualization": "VisualizationTask",
    "signature": "SignatureTask",
}
"""Every track, and the name of its tasks' class."""


def task_class(track: str) -> type[Task]:
    """The class of a track's tasks."""
    module = import_module(f"benchmark.tracks.{track}.task")
    return cast("type[Task]", getattr(module, TASK_CLASSES[track]))
