"""Data that a baseline reads: files beside its module that begin with the module's name."""

from __future__ import annotations

from pathlib import Path


def data_files(file: Path, root: Path) -> tuple[Path, ...]:
    """Files of one of the project's own modules that are no code: ``NAME.*`` beside ``NAME.py``.

    Args:
        file: the module, a method's or one that a method imports.
        root: the project's root.

    Returns:
        The files by name; none for a module outside ``baselines/`` (a submission's folder is hashed whole).
    """
    if not file.is_relative_to(root / "baselines"):
        return ()
    beside = file.parent.glob(f"{file.stem}.*")
    return tuple(sorted(p for p in beside if p.is_file() and p.suffix not in (".py", ".pyc")))
