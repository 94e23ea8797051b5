"""Pictures of what happened: every track says which, and here they are written, each once."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from benchmark.boards.tables import Tables
from benchmark.files.names import safe_name
from benchmark.files.writing import write_whole
from benchmark.running.cells import Cell
from benchmark.running.store import Store, StoreDamaged
from benchmark.tracks import pictures_of


def write_gallery(cells: Iterable[Cell], tables: Tables, store: Store, folder: Path) -> None:
    """Writes the pictures of all cells of one forgery that ended ok, and removes those that they replace.

    A picture's name ends in ``-`` and a digest; an older picture that differs in the digest alone is removed.
    One whose files turn out to be damaged is left out, and the store counts their steps as missing from then.
    """
    ok = set(tables.samples["cell_id"].unique())
    by_track: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.id in ok and not cell.pool:
            by_track.setdefault(cell.task.track, []).append(cell)
    for track, group in by_track.items():
        for name, draw in pictures_of(track).pictures(group, tables.samples, store):
            path = picture_file(folder, name)
            if path.exists():
                continue
            stem = path.name.rpartition("-")[0]
            for old in path.parent.iterdir() if path.parent.is_dir() else ():
                if old.is_file() and not old.is_symlink() and old.name.rpartition("-")[0] == stem:
                    old.unlink()
            try:
                picture = Image.fromarray(draw())
            except StoreDamaged as damage:
                store.lose(damage)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            content = io.BytesIO()
            picture.save(content, "PNG")
            write_whole(path, content.getvalue())


def picture_file(folder: Path, name: str) -> Path:
    """Where a picture goes: below the folder, whatever the parts of its name are."""
    *parts, last = name.split("/")
    stem, dash, digest = last.rpartition("-")
    return folder.joinpath(
        *(safe_name(part) for part in parts), f"{safe_name(stem)}{dash}{safe_name(digest)}.png"
    )
