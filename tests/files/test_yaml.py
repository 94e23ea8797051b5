"""YAML has one meaning per text, and whatever is wrong is one sentence with file, line and field."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

import benchmark.files.yaml as reader
from benchmark.errors import MethodError, PotemkinError
from benchmark.files.yaml import dump_yaml, parse_yaml, read_mapping, read_yaml

OWN = sorted(
    path for folder in ("tasks", "tests/museum") for path in (ROOT / folder).rglob("*.yaml") if path.is_file()
)
PARSERS = ["SafeLoader", *(["CSafeLoader"] if hasattr(yaml, "CSafeLoader") else [])]


@pytest.fixture(params=PARSERS)
def either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser in C, and the one in Python where there is no other."""
    monkeypatch.setattr(reader, "_PARSER", getattr(yaml, request.param))


def refusal(text: str | bytes) -> str:
    """What is said of a file."""
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    with pytest.raises(PotemkinError) as raised:
        parse_yaml(content, "tasks/x.yaml")
    message = str(raised.value)
    assert message.startswith("tasks/x.yaml") and "\n" not in message and len(message) < 500
    assert message.isprintable()
    return message


def test_the_projects_own_files_say_what_they_always_said() -> None:
    assert len(OWN) > 30
    for path in OWN:
        old = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert repr(read_yaml(path, path.name)) == repr(old), path


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("0x1F", 31),
        ("0.5", 0.5),
        ("1.0e-6", 1e-6),
        (".5", 0.5),
        ("3.", 3.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'yes'", "yes"),
        ('"010"', "010"),
        ("n", "n"),
        ("16/255", "16/255"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("=", "="),
        ("Ådne 李 \u0639\u200c\u0636", "Ådne 李 \u0639\u200c\u0636"),
        ('"a\\tb"', "a\tb"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ],
)
def test_scalars_that_every_version_reads_alike(text: str, value: Any) -> None:
    found = parse_yaml(f"x: {text}".encode(), "f")["x"]
    assert found == value and type(found) is type(value)


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    "text",
    [
        *(
            "010",
            "-010",
            "08",
            "0o10",
            "0b1",
            "1_000",
            "0x_",
            "0x1_0",
            "1:30",
            "1:30:00.5",
            "yes",
            "No",
            "ON",
        ),
        *(
            "off",
            "1e-6",
            "1e6",
            "1.5e3",
            "-.5",
            "1_0.5",
            "2024-01-31",
            "2024-13-45",
            "2001-12-14t21:59:43.1Z",
        ),
        *("1e400", "-1.0e+400", ".inf", "-.inf", ".nan", ".NaN", "9" * 5000, "0x" + "f" * 5000, str(2**65)),
        *("!!bool perhaps", "!!int ''", "!!timestamp never", "!!python/object/apply:os.system [x]", "! x"),
        *("!x y", "!!str 1", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]"),
    ],
)
def test_what_is_ambiguous_or_no_number_is_refused_by_line_and_field(text: str) -> None:
    message = refusal(f"a: 1\nb:\n  - c: {text}\n")
    assert message.startswith("tasks/x.yaml: field b.0.c: ") and message.endswith(" (line 3)")


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("---\n...\n", "is empty"),
        ("a: 1\nb: 2\na: 3\n", "line 3: a stands twice (first in line 1)"),
        ('{a: 1, "a": 2}', "stands twice"),
        ("x:\n  y: {k: 1, k: 2}\n", "field x.y: k stands twice (first in line 2); keep one of them (line 2)"),
        ("<<: {a: 1}\n<<: {b: 1}\n", "<< stands twice"),
        ("1: a\n", "the name 1 is no text"),
        ("true: a\n", "the name true is no text"),
        ("? [a]\n: 1\n", "must be a plain text"),
        ("{[a]: 1}\n", "must be a plain text"),
        ("&a k: 1\n", "must be a plain text"),
        ("!!str k: 1\n", "tags such as !!str"),
        ('"": 1\n', "is empty"),
        ("%YAML 1.1\n---\na: yes\n", "directives are not read"),
        ("%TAG ! tag:x,2000:\n---\na: 1\n", "directives are not read"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("a: *b\n", "stands for nothing"),
        ("a: &a [*a]\n", "stands for nothing that is complete"),
        ("a: &a {<<: *a}\n", "stands for nothing that is complete"),
        ("<<: 3\n", "takes the alias of a mapping"),
        ("<<: [{a: 1}, 2]\n", "takes the alias of a mapping"),
        ("a: [\n", "is not valid YAML"),
        ("a: 1\n\tb: 2\n", "is not valid YAML in line 2, mend it: indent it with spaces, not with a tab"),
        ("\ta: 1\n", "in line 1, mend it: indent it with spaces"),
        ("a: 'x\n", "is not valid YAML"),
        ("[" * 60_000, "more than 32 levels"),
        ("- " * 60_000, "more than 32 levels"),
        ("{a: " * 60_000, "more than 32 levels"),
        ("a: \0", "U+0000"),
        ('a: "\\0"', "U+0000"),
        ('a: "\\x1b[2J"', "U+001B"),
        ('"\\x1b[2J": 1', "U+001B"),
        ("a: \u202eb", "U+202E"),
        ('a: "\\u202eb"', "U+202E"),
        ("a: b\u2028c", "U+2028"),
        (b"a: \xff", "is not UTF-8 text in line 1"),
        (b"a: 1\nb: \xed\xa0\x80", "is not UTF-8 text in line 2"),
        ("a: 1".encode("utf-16"), "byte-order mark"),
        (b"\xef\xbb\xbfa: 1", "byte-order mark"),
        ("a: 1".encode("utf-16-le"), "U+0000"),
    ],
)
def test_what_is_no_plain_data_is_one_sentence(text: str | bytes, told: str) -> None:
    assert told in refusal(text)


@pytest.mark.usefixtures("either_parser")
@pytest.mark.parametrize("level", ["[{aliases}]", "{{<<: [{aliases}]}}", "{{k: [{aliases}]}}"])
def test_what_unfolds_without_end_is_refused_at_once(level: str) -> None:
    lines = ["x: &a0 {k: 1}"]
    for depth in range(1, 9):
        aliases = ",".join([f"*a{depth - 1}"] * 10)
        lines.append(f"x{depth}: &a{depth} {level.format(aliases=aliases)}")
    started = time.process_time()
    assert "more than 100000 values" in refusal("\n".join(lines))
    assert time.process_time() - started < 2


def test_a_long_text_that_is_repeated_counts_by_its_length() -> None:
    assert "more than 100000 values" in refusal(f"a: &a {'x' * 30_000}\nb: [{','.join(['*a'] * 5_000)}]\n")


@pytest.mark.usefixtures("either_parser")
def test_merges_read_as_they_do_in_yaml() -> None:
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], z: 5}\nd: {y: 0, <<: *a}\n"
    assert parse_yaml(text.encode(), "f") == yaml.safe_load(text)


def test_only_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "memory").symlink_to("/proc/self/mem")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
    for name in (
        "folder",
        "pipe",
        "nowhere",
        "circle",
        "device",
        "memory",
        "socket",
        "missing",
        "x" * 300,
        "\0",
    ):
        for follow in (True, False):
            with pytest.raises(MethodError, match="tasks/own") as raised:
                read_yaml(tmp_path / name, "tasks/own", MethodError, follow=follow)
            assert "\n" not in str(raised.value)
    (tmp_path / "large").write_bytes(b"#" * 2000)
    with pytest.raises(MethodError, match="larger than 1 KiB"):
        read_yaml(tmp_path / "large", "tasks/own", MethodError, largest=1024)


def test_a_link_to_a_file_is_followed_where_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("a: 1")
    (tmp_path / "link").symlink_to("real")
    assert read_mapping(tmp_path / "link", "link") == {"a": 1}
    with pytest.raises(MethodError, match="is a link"):
        read_yaml(tmp_path / "link", "link", MethodError, follow=False)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=12)
    | st.sampled_from(
        ["yes", "010", "1e5", "0o7", "1:30", "null", "~", "2024-01-31", ".nan", "- a", "a: b", "a #b"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "on", "1", "<<", "e e", "2.0"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(value=plain, flow=st.booleans())
def test_what_is_written_is_read_again(value: Any, flow: bool) -> None:
    text = dump_yaml({"value": value}, flow=flow)
    assert parse_yaml(text.encode(), "f") == {"value": value}


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text("[]{}:,-?&*!|>'\"%@`#\n\t <a1.~\\ux0=", max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_in_a_sentence(content: bytes) -> None:
    try:
        parse_yaml(content, "tasks/x.yaml")
    except PotemkinError as error:
        assert str(error).startswith("tasks/x.yaml") and "\n" not in str(error)
