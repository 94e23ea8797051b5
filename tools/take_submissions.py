"""Takes submissions of another checkout into this one, and nothing else of it: what a pull request hands in.

python tools/take_submissions.py OTHER    # prints the names of those that it took, one a line

Folders below ``submissions/`` that this checkout lacks, or has otherwise, are copied as files. A name that is
no method's, a link, anything but files and folders, and more than a submission may weigh are refused, and
nothing is copied then.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MOST_FILES, MOST_BYTES = 500, 256 * 2**20
"""Of one submission."""


class Refused(Exception):
    """What is handed in cannot be taken; the text says why."""


def files_of(folder: Path) -> dict[str, Path]:
    """Files of a submission by their path in it.

    Raises:
        Refused: it holds anything else, or too much.
    """
    found: dict[str, Path] = {}
    size = 0
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(place, name)
            info = path.lstat()
            shown = ascii(path.relative_to(folder.parent).as_posix()[:200])
            if name in folders and stat.S_ISDIR(info.st_mode):
                continue
            if not stat.S_ISREG(info.st_mode):
                raise Refused(f"{shown} is neither a file nor a folder")
            found[path.relative_to(folder).as_posix()] = path
            size += info.st_size
            if len(found) > MOST_FILES or size > MOST_BYTES:
                raise Refused(f"{folder.name!a} has more than {MOST_FILES} files or {MOST_BYTES} bytes")
    return found


def changed(theirs: Path, mine: Path) -> list[Path]:
    """Folders of submissions that are others there, sorted.

    Raises:
        Refused: one has a name that is no method's, or holds what none may.
    """
    folder = theirs / "submissions"
    if folder.is_symlink() or not folder.is_dir():
        raise Refused("there is no folder submissions/")
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            raise Refused(f"{path.name[:100]!a} is a link")
        if not path.is_dir():
            continue
        if not _NAME.fullmatch(path.name):
            raise Refused(f"{path.name[:100]!a} is no name of a submission")
        own, other = files_of(path), mine / "submissions" / path.name
        here = files_of(other) if other.is_dir() else {}
        if own.keys() != here.keys() or any(own[n].read_bytes() != here[n].read_bytes() for n in own):
            found.append(path)
    return found


def take(theirs: Path, mine: Path) -> list[str]:
    """Copies the submissions that are others there; returns their names."""
    folders = changed(theirs, mine)
    for folder in folders:
        place = mine / "submissions" / folder.name
        shutil.rmtree(place, ignore_errors=True)
        for name, file in files_of(folder).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / name, follow_symlinks=False)
    return [folder.name for folder in folders]


def main() -> int:
    """Takes them; 1 where they are refused."""
    parser = argparse.ArgumentParser(description="Takes submissions of another checkout into this one.")
    parser.add_argument("other", type=Path, help="folder of the other checkout")
    try:
        names = take(parser.parse_args().other.resolve(), ROOT)
    except Refused as error:
        print(f"not taken: {error}", file=sys.stderr)
        return 1
    for name in names:
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
