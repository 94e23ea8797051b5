"""Writes the SHA-256 of every shipped file into the manifests and changes nothing else in them.

Run from anywhere inside the project after weights or data have changed::

    python tools/update_manifest.py            # rewrites the manifests in tasks/
    python tools/update_manifest.py --check    # only says what is stale, and fails if anything is

In an entry, a line ``sha256:`` belongs to the file that the line ``weights:`` names, a line
``NAME_sha256:`` to the file that the line ``NAME:`` names. The hash of a file that does not exist
stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from benchmark.files.assets import locate_root, sha256_of

_ENTRY = re.compile(r"^(\S[^:]*):")
_FIELD = re.compile(r"^(\s+)(\w+):\s*(\S+)")
_ASSETS = "assets/"


def updated(text: str, tasks: Path) -> tuple[str, list[str]]:
    """The manifest with the hashes of what lies on disk, and a line per hash changed or missing.

    Args:
        text: content of a manifest.
        tasks: the folder that its paths are relative to.
    """
    lines = text.splitlines(keepends=True)
    remarks: list[str] = []
    entry = ""
    paths: dict[str, str] = {}
    for number, line in enumerate(lines):
        if heading := _ENTRY.match(line):
            entry, paths = heading[1], {}
        field = _FIELD.match(line)
        if field is None:
            continue
        indent, name, value = field.groups()
        if value.startswith(_ASSETS):
            paths[f"{name}_sha256"] = value
            if name == "weights":
                paths["sha256"] = value
        elif name in paths:
            path = tasks / paths[name]
            if not path.is_file():
                remarks.append(f"{entry}: {paths[name]} does not exist; {name} stays {value}")
            elif value != (found := sha256_of(path)):
                lines[number] = f"{indent}{name}: {found}\n"
                remarks.append(f"{entry}: {name} {value[:12]} -> {found[:12]}")
    return "".join(lines), remarks


def main() -> int:
    """Updates or checks the manifests; returns 1 if ``--check`` found something stale."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if stale")
    check: bool = parser.parse_args().check
    tasks = locate_root() / "tasks"
    stale = False
    for name in ("victims.yaml", "datasets.yaml", "targets.yaml"):
        path = tasks / name
        before = path.read_text(encoding="utf-8")
        after, remarks = updated(before, tasks)
        stale = stale or bool(remarks)
        for remark in remarks:
            print(f"{name}: {remark}")
        if not check and after != before:
            path.write_text(after, encoding="utf-8")
    return int(check and stale)


if __name__ == "__main__":
    sys.exit(main())
