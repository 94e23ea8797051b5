"""Writes the SHA-256 of every shipped file into the manifests and changes nothing else in them.

Run from anywhere inside the project after weights or data have changed::

    python tools/update_manifest.py            # rewrites the manifests in tasks/
    python tools/update_manifest.py --check    # only says what is stale, and fails if anything is

In an entry, a line ``sha256:`` belongs to the file that the line ``weights:`` names, a line
``NAME_sha256:`` to the file that the line ``NAME:`` names, whichever stands first. The hash of a file that
does not exist stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from benchmark.files.assets import locate_root, sha256_of

_ENTRY = re.compile(r"^(\S[^:]*):")
_FIELD = re.compile(r"^(\s+)(\w+):\s*(\S.*?)\s*$")
_REST = re.compile(r"""^(?:"([^"]*)"|'([^']*)'|(.*?))(\s+#.*)?$""")
"""A value in quotes or not, and a comment behind it."""


def updated(text: str, tasks: Path) -> tuple[str, list[str]]:
    """The manifest with the hashes of what lies on disk, and a line per hash changed or missing.

    Args:
        text: content of a manifest.
        tasks: the folder that its paths are relative to.
    """
    lines = text.splitlines(keepends=True)
    remarks: list[str] = []
    starts = [number for number, line in enumerate(lines) if _ENTRY.match(line)]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        heading = _ENTRY.match(lines[start])
        assert heading is not None
        _update(lines, range(start, end), heading[1], tasks, remarks)
    return "".join(lines), remarks


def _update(lines: list[str], entry: range, title: str, tasks: Path, remarks: list[str]) -> None:
    """Writes the hashes of one entry into its lines."""
    matches = ((number, _FIELD.match(lines[number])) for number in entry)
    fields = [(number, match[1], match[2], match[3]) for number, match in matches if match is not None]
    values = {name: _value(text)[0] for _, _, name, text in fields}
    for number, indent, name, text in fields:
        of = "weights" if name == "sha256" else name.removesuffix("_sha256")
        if not name.endswith("sha256") or of not in values:
            continue
        path, (value, comment) = values[of], _value(text)
        if not (tasks / path).is_file():
            remarks.append(f"{title}: {path} does not exist; {name} stays {value}")
        elif value != (found := sha256_of(tasks / path)):
            lines[number] = f"{indent}{name}: {found}{comment}\n"
            remarks.append(f"{title}: {name} {value[:12]} -> {found[:12]}")


def _value(text: str) -> tuple[str, str]:
    """What a field says, without quotes, and the comment behind it."""
    parts = _REST.match(text)
    assert parts is not None
    return next(part for part in parts.groups()[:3] if part is not None), parts[4] or ""


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
