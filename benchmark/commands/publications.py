"""Publications as commands name them: a published suite, or a folder of results."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import PotemkinError
from benchmark.publishing.published import published_folder
from benchmark.publishing.reading import CELLS


def folder_of(name: str, root: Path) -> Path:
    """The folder of a published suite, or the folder itself where it is a path to results.

    Raises:
        TaskError: no suite of that name is published.
        PotemkinError: the folder holds no results.
    """
    path = Path(name).expanduser()
    if "/" not in name and name not in (".", ".."):
        return published_folder(root, name)
    if not path.is_dir():
        raise PotemkinError(f"{name[:200]}: there is no such folder")
    if not (path / CELLS).is_file():
        raise PotemkinError(f"{name[:200]} holds no {CELLS}: name a folder that `potemkin run` wrote")
    return path.resolve()
