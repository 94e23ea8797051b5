"""Damaged task, suite, victim, data, target, card, artefact and noise files: each is one sentence."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import CARD, ROOT

from benchmark.errors import PotemkinError
from benchmark.files.yaml import parse_yaml
from benchmark.methods.artefact import load_manifest
from benchmark.methods.card import load_card
from benchmark.reproducing.noise import load_floor
from benchmark.tasks.data_manifest import data_entries
from benchmark.tasks.targets import target_entries
from benchmark.tasks.task import load_suite, load_suites, load_task
from benchmark.victims.manifest import victim_entries

MUTANTS = 50
"""Of each kind of file."""
ARTEFACT = f"tasks:\n  saliency/smoke-gradient: {'a' * 64}\n  signature/smoke: {'b' * 64}\n"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        file: where it lies in a project.
        read: reads it.
        text: what it says; None for the project's own.
    """

    file: str
    read: Callable[[Path], Any]
    text: str | None = None


def _suites(root: Path) -> None:
    for name in load_suites(root):
        load_suite(name, root)


def _floor(root: Path) -> None:
    load_floor(root, load_task("saliency/smoke-gradient", root))


def _tasks(name: str) -> Kind:
    return Kind(f"tasks/{name}.yaml", lambda root: load_task(name, root))


SUITES = "tiny:\n  title: t\n  tasks: [saliency/smoke-lrp, signature/smoke]\n"
MINE = Path("submissions") / "mine"
NOISE = Path("tasks/noise/saliency/smoke-gradient.yaml")
KINDS = {
    "saliency": _tasks("saliency/smoke-lrp"),
    "visualization": _tasks("visualization/smoke"),
    "signature": _tasks("signature/smoke"),
    "fairwashing": _tasks("fairwashing/smoke"),
    "suites": Kind("tasks/suites.yaml", _suites, SUITES),
    "victims": Kind("tasks/victims.yaml", victim_entries),
    "datasets": Kind("tasks/datasets.yaml", data_entries),
    "targets": Kind("tasks/targets.yaml", target_entries),
    "card": Kind(f"{MINE}/card.yaml", lambda root: load_card(root / MINE), CARD),
    "artefact": Kind(f"{MINE}/artefact.yaml", lambda root: load_manifest(root / MINE), ARTEFACT),
    "noise": Kind(str(NOISE), _floor, "".join((ROOT / NOISE).read_text().splitlines(keepends=True)[:20])),
}
MANIFESTS = ("suites", "victims", "datasets", "targets")
"""Files of entries by name."""

VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 3.5, -0.0, 2**63, 10**18, 1e300, "", " ", "x", "../../../etc/passwd"),
    *("/etc/passwd", "1", "yes", "a" * 5000, [], [[]], [1, "a"], {}, {"a": 1}, {"name": {}}, ["a"] * 3000),
    *({str(number): number for number in range(500)}, "a/b", "saliency/../../x", "é\u200c", "=1+1", "[bold]"),
    *([None], [[[[1]]]], "\t", "%s{}", "-" * 200),
]
RAW = [
    *("!!bool perhaps", "!!int ''", "!!timestamp never", "!!python/name:os.system", "! x", "010", "0o10"),
    *("1:30", "yes", "1_000", "1e-6", "1e400", "0x_", ".nan", "-.inf", "9" * 5000, "2024-13-45", "*none"),
    *("&a [*a]", "&a", "[" * 3000, "{" * 3000, '"\\x1b[2J"', '"\\ud800"', '"\\0"', "'", '"', "|", ">", "? x"),
    *("- x", ": x", "# x", "@x", "`x`", "%x", "{a: 1, a: 2}", "<<: {}", "{<<: 1}", "{1: 2}", "{[a]: 1}"),
    *("\u202e", "\x07", "--- x", "...", "nul\0", "\x85"),
]


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a file something stands."""
    items: Any = enumerate(content) if isinstance(content, list) else ()
    if isinstance(content, dict):
        items = content.items()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def restructured(text: str, draw: random.Random) -> bytes:
    """A file in which something stands in another place, is gone, or is another thing."""
    content = parse_yaml(text.encode(), "sound")
    for _ in range(draw.choice([1, 1, 2, 4])):
        if not (found := list(places(content))):
            break
        *path, last = draw.choice(found)
        parent = content
        for part in path:
            parent = parent[part]
        match draw.randrange(5):
            case 0:
                del parent[last]
            case 1 if isinstance(parent, dict):
                parent[f"{last}s"] = parent.pop(last)
            case 2:
                parent[last] = [parent[last]]
            case 3:
                parent[last] = {"value": parent[last]}
            case _:
                parent[last] = draw.choice(VALUES)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()


def rewritten(text: str, draw: random.Random) -> bytes:
    """A file with another text in a line, a line twice, a line less, or bytes that are none of a text."""
    lines = text.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    match draw.randrange(7):
        case 0:
            lines.insert(place, lines[place])
        case 1:
            del lines[place]
        case 2:
            return text[: draw.randrange(len(text))].encode()
        case 3:
            content = text.encode()
            at = draw.randrange(len(content))
            return (
                content[:at]
                + draw.choice([b"\0", b"\xff", b"\xef\xbb\xbf", b"\x1b[2J", b"\r"])
                + content[at:]
            )
        case 4:
            return text.encode(draw.choice(["utf-16", "utf-32", "utf-8-sig", "utf-16-be"]))
        case _:
            head, colon, _ = lines[place].partition(":")
            lines[place] = f"{head}{colon or ':'} {draw.choice(RAW)}\n"
    return "".join(lines).encode()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of YAML files."""
    root = tmp_path_factory.mktemp("fuzz")
    shutil.copytree(ROOT / "tasks", root / "tasks", ignore=shutil.ignore_patterns("assets"))
    (root / "tasks" / "assets").symlink_to(ROOT / "tasks" / "assets", target_is_directory=True)
    (root / "submissions" / "mine").mkdir(parents=True)
    for kind in KINDS.values():
        if kind.text is not None:
            (root / kind.file).write_text(kind.text, encoding="utf-8")
    return root


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_one_sentence_that_names_it(name: str, project: Path) -> None:
    kind = KINDS[name]
    file = project / kind.file
    sound = file.read_text(encoding="utf-8")
    kind.read(project)
    refused = 0
    try:
        for seed in range(MUTANTS):
            draw = random.Random(f"{name} {seed}")
            content = draw.choice([restructured, rewritten])(sound, draw)
            file.write_bytes(content)
            try:
                kind.read(project)
            except PotemkinError as error:
                refused += 1
                lines = str(error).splitlines()
                assert all(file.name in line for line in lines), (content[:2000], error)
                assert len(lines) <= 10 and all(len(line) < 9000 and line.isprintable() for line in lines), (
                    error
                )
            except Exception as error:
                raise AssertionError(f"seed {seed}: {content[:3000]!r}") from error
    finally:
        file.write_text(sound, encoding="utf-8")
    assert refused > MUTANTS / 3, "most damage is noticed"


@pytest.mark.parametrize("name", KINDS)
def test_a_field_that_holds_another_thing_is_named(name: str, project: Path) -> None:
    kind = KINDS[name]
    file = project / kind.file
    sound = file.read_text(encoding="utf-8")
    content = yaml.safe_load(sound)
    within: dict[str, Any] = next(iter(content.values())) if name in MANIFESTS else content
    for field in within:
        kept = within[field]
        within[field] = {"another": ["thing"]}
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        try:
            with pytest.raises(PotemkinError, match=field):
                kind.read(project)
        except pytest.fail.Exception:
            assert field in ("parameters", "settings"), f"{field} may be anything"
        finally:
            within[field] = kept
            file.write_text(sound, encoding="utf-8")
