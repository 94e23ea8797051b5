"""YAML is read strictly, as data: one meaning per text, and every fault is one sentence with file and line.

Scalars are those of YAML 1.2's core schema. What YAML 1.1 takes for something else (``010``, ``1:30``,
``yes``, ``1_000``, ``1e-6``, ``2024-01-31``) is refused by name, and so are tags, directives, a key that
stands twice, keys that are no text, and numbers that are not finite. Size, depth and what aliases unfold to
are bounded.
"""

from __future__ import annotations

import functools
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml import events

from benchmark.errors import PotemkinError, TaskError

LARGEST = 1_048_576
"""Bytes that a file of the project's own may have."""
_DEEPEST, _MOST = 32, 100_000
_LARGEST_NUMBER = 2**64
_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE, _FALSE = frozenset({"true", "True", "TRUE"}), frozenset({"false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_FLOAT_IN_ALL = re.compile(r"([-+]?[0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?")
"""What every version of YAML takes for a float: ``1.0e-6``, but not ``1e-6``."""
_AMBIGUOUS = {
    "reads as true or false in some versions of YAML": re.compile(
        r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"
    ),
    "reads as an octal number in some versions of YAML": re.compile(r"[-+]?0[0-9_]+|[-+]?0o[0-7]+"),
    "reads as a number with underscores in some versions of YAML": re.compile(
        r"[-+]?([0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?|[0-9]+\.[0-9_]*_[0-9_]*|\._*[0-9][0-9_]*_[0-9_]*)([eE][-+]?[0-9]+)?"
        r"|[-+]?0x[0-9a-fA-F_]*_[0-9a-fA-F_]*"
    ),
    "reads as a number in some versions of YAML": re.compile(
        r"[-+]?0b[01_]+|[-+]0x[0-9a-fA-F_]+|\.[0-9_]*_[0-9_]*"
    ),
    "reads as hours, minutes and seconds in some versions of YAML": re.compile(
        r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
    ),
    "reads as a date in some versions of YAML": re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?"),
}
_ADVICE = "write a number as 10, 0.5 or 1.0e-6, a choice as true or false, and a text in quotes"
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_JOINERS = "\u200c\u200d"
"""Invisible characters that some languages are written with; other invisible ones are refused."""
_MERGE = "<<"


class _Text(str):
    """A plain text that stands for a merge key."""


class _Value:
    """What a node of the file holds, and how many nodes that is with aliases unfolded."""

    __slots__ = ("content", "size")

    def __init__(self, content: Any, size: int) -> None:
        self.content, self.size = content, size


def read_yaml(
    path: Path,
    shown: str,
    fault: type[PotemkinError] = TaskError,
    largest: int = LARGEST,
    follow: bool = True,
) -> Any:
    """What a YAML file says, as dicts, lists, texts, numbers, booleans and None.

    Args:
        path: the file.
        shown: what it is called in messages.
        fault: what is raised.
        largest: bytes that it may have.
        follow: whether it may be a link to a file.

    Raises:
        PotemkinError: ``fault``, where anything is wrong with it, as one sentence that names file and line.
    """
    return parse_yaml(_content(path, shown, fault, largest, follow), shown, fault)


def read_mapping(path: Path, shown: str, fault: type[PotemkinError] = TaskError) -> dict[str, Any]:
    """The mapping that a YAML file of the project's own holds; raises ``fault`` as :func:`read_yaml` does."""
    return _mapping_of(read_yaml(path, shown, fault), shown, fault)


def look_up(path: Path, shown: str) -> Mapping[str, Any]:
    """What :func:`read_mapping` returns, to look at and not to change: the same one for all who ask."""
    return _parsed(_content(path, shown, TaskError, LARGEST, follow=True), shown)


@functools.lru_cache(maxsize=16)
def _parsed(content: bytes, shown: str) -> Mapping[str, Any]:
    """The mapping in a manifest, parsed once: it is asked for each of a hundred networks."""
    return _mapping_of(parse_yaml(content, shown), shown, TaskError)


def _mapping_of(content: Any, shown: str, fault: type[PotemkinError]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise fault(f"{shown} must be a mapping of fields; it is {kind_of(content)}")
    return content


def parse_yaml(content: bytes, shown: str, fault: type[PotemkinError] = TaskError) -> Any:
    """What the bytes of a YAML file say; raises ``fault`` as :func:`read_yaml` does."""
    return _Reader(_text(content, shown, fault), shown, fault).read()


def dump_yaml(value: Any, flow: bool | None = False, width: int = 110) -> str:
    """YAML that :func:`read_yaml` reads as ``value``; mappings keep their order."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width, default_flow_style=flow
    )
    return text


def kind_of(value: Any) -> str:
    """What a value is, in a word."""
    kinds = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return kinds.get(type(value), "a number")


def _content(path: Path, shown: str, fault: type[PotemkinError], largest: int, follow: bool) -> bytes:
    """The bytes of a regular file; nothing else is opened, and nothing waited for."""
    try:
        if path.is_symlink() and not follow:
            raise fault(f"{shown} is a link: put the file itself there")
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise fault(f"{shown} is no file but a folder, a pipe or a device: put a file there")
            content = file.read(largest + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise fault(f"cannot read {shown}: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > largest:
        raise fault(f"{shown} is larger than {largest // 1024} KiB: shorten it")
    return content


def _text(content: bytes, shown: str, fault: type[PotemkinError]) -> str:
    """The text that the bytes are, where it is printable UTF-8."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        raise fault(f"{shown} begins with a byte-order mark: save it as UTF-8 without one")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise fault(f"{shown} is not UTF-8 text in line {line}: save it as UTF-8") from None
    text = text.replace("\r\n", "\n")
    if found := _unprintable(text):
        line = text.count("\n", 0, found[0]) + 1
        raise fault(
            f"{shown}: line {line} has the character U+{found[1]:04X}, which cannot be shown; remove it"
        )
    return text


def _unprintable(text: str) -> tuple[int, int] | None:
    """Place and number of the first character that is neither printable nor a line's end or a tab."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return None
    for place, character in enumerate(text):
        if character in "\n\t" or character in _JOINERS:
            continue
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp"):
            return place, ord(character)
    return None


class _Reader:
    """Reads one file's events, and knows where it is."""

    def __init__(self, text: str, shown: str, fault: type[PotemkinError]) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
        self._shown, self._fault = shown, fault
        self._lines = text.split("\n")
        self._anchors: dict[str, _Value | None] = {}
        self._place: list[str] = []
        self._nodes = 0

    def read(self) -> Any:
        """The only document's content."""
        try:
            self._next()  # the stream
            document = self._next()
            if isinstance(document, events.StreamEndEvent):
                raise self._fault(
                    f"{self._shown} is empty, and must be a mapping of fields: write them, or restore it"
                )
            if document.version or document.tags:
                self._refuse(document, "directives are not read; remove the line that begins with %")
            content = self._node(self._next()).content
            self._next()  # the document's end
            if not isinstance(after := self._next(), events.StreamEndEvent):
                self._refuse(after, "a second document begins; keep one and remove the line `---`")
        except yaml.YAMLError as error:
            raise self._fault(f"{self._shown}{_cause(error, self._lines)}") from None
        if content is None:
            raise self._fault(
                f"{self._shown} is empty, and must be a mapping of fields: write them, or restore it"
            )
        return content

    def _next(self) -> Any:
        return next(self._events)

    def _refuse(self, event: Any, why: str) -> NoReturn:
        line = f"line {event.start_mark.line + 1}"
        if self._place:
            raise self._fault(f"{self._shown}: field {'.'.join(self._place)}: {why} ({line})")
        raise self._fault(f"{self._shown}: {line}: {why}")

    def _node(self, event: Any) -> _Value:
        """The content of the node that begins with an event."""
        if isinstance(event, events.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            self._refuse(event, _tagged(event.tag))
        if event.anchor is not None:
            self._anchors[event.anchor] = None  # until it is complete, it cannot be meant
        if isinstance(event, events.ScalarEvent):
            value = _Value(self._scalar(event), 1 + len(event.value) // 32)
        elif len(self._place) >= _DEEPEST:
            self._refuse(event, f"more than {_DEEPEST} levels are not read; make it flatter")
        elif isinstance(event, events.SequenceStartEvent):
            value = self._list()
        else:
            value = self._mapping()
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _alias(self, event: Any) -> _Value:
        known = self._anchors.get(event.anchor)
        if known is None:
            self._refuse(event, f"*{_brief(event.anchor)} stands for nothing that is complete; write it out")
        self._count(event, known.size)
        return known

    def _count(self, event: Any, size: int) -> None:
        self._nodes += size
        if self._nodes > _MOST:
            self._refuse(
                event, f"more than {_MOST} values, aliases written out, are not read; use fewer aliases"
            )

    def _list(self) -> _Value:
        items: list[Any] = []
        size = 1
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            self._count(event, 1)
            self._place.append(str(len(items)))
            found = self._node(event)
            self._place.pop()
            items.append(found.content)
            size += found.size
        return _Value(items, size)

    def _mapping(self) -> _Value:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        size = 1
        while not isinstance(event := self._next(), events.MappingEndEvent):
            self._count(event, 1)
            key = self._key(event)
            if key in lines:
                self._refuse(
                    event, f"{_brief(key)} stands twice (first in line {lines[key]}); keep one of them"
                )
            lines[key] = event.start_mark.line + 1
            self._place.append(_brief(key))
            value = self._next()
            found = self._node(value)
            if isinstance(key, _Text):
                merged = self._merge(value, found)
            else:
                own[key] = found.content
            self._place.pop()
            size += 1 + found.size
        return _Value({**merged, **own}, size)

    def _key(self, event: Any) -> str:
        if not isinstance(event, events.ScalarEvent) or event.anchor is not None:
            self._refuse(event, "a name before a colon must be a plain text")
        if event.value == _MERGE and event.implicit[0]:
            return _Text(_MERGE)
        if event.tag is not None:
            self._refuse(event, _tagged(event.tag))
        key = self._scalar(event)
        if not isinstance(key, str):
            self._refuse(event, f"the name {_brief(event.value)} is no text; put quotes around it")
        if not key or "\n" in key or "\t" in key or len(key) > 200:
            self._refuse(event, f"the name {_brief(key)} is empty, too long or of several lines; change it")
        return key

    def _merge(self, event: Any, found: _Value) -> dict[str, Any]:
        """What ``<<`` brings: of several mappings the earlier ones win."""
        sources = found.content if isinstance(found.content, list) else [found.content]
        if not all(isinstance(source, dict) for source in sources):
            self._refuse(event, "<< takes the alias of a mapping, or a list of such")
        merged: dict[str, Any] = {}
        for source in reversed(sources):
            merged.update(source)
        return merged

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # in quotes, or a block
            if found := _unprintable(text):
                self._refuse(event, f"has the character U+{found[1]:04X}, which cannot be shown; remove it")
            return text
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        for why, pattern in _AMBIGUOUS.items():
            if pattern.fullmatch(text):
                self._refuse(event, f"{_brief(text)} {why}; {_ADVICE}")
        if _NOT_FINITE.fullmatch(text):
            self._refuse(event, f"{text} is no finite number; write one, or put quotes around it")
        return self._number(event, text)

    def _number(self, event: Any, text: str) -> Any:
        """The number that a plain text is, or the text."""
        integer = _INTEGER.fullmatch(text) or _HEXADECIMAL.fullmatch(text)
        if not integer and not _FLOAT.fullmatch(text):
            return text
        if not integer and not _FLOAT_IN_ALL.fullmatch(text):
            self._refuse(event, f"{_brief(text)} reads as a text in some versions of YAML; {_ADVICE}")
        if integer and len(text) > 21:
            self._refuse(event, f"{_brief(text)} is too large a number; write a smaller one")
        value = int(text, 0) if integer else float(text)
        if abs(value) > _LARGEST_NUMBER if integer else value in (float("inf"), float("-inf")):
            self._refuse(event, f"{_brief(text)} is too large a number; write a smaller one")
        return value


def _tagged(tag: str) -> str:
    return f"tags such as {_brief(tag.replace('tag:yaml.org,2002:', '!!'))} are not read; remove it"


def _brief(text: str) -> str:
    """A text in quotes where needed, on one line, and short."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _cause(error: yaml.YAMLError, lines: list[str]) -> str:
    """Where the parser stopped, and why."""
    mark: Any = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f" is not valid YAML in line {mark.line + 1}, mend it: indent it with spaces, not with a tab"
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    text = " ".join(" ".join(str(part) for part in parts if part).split()) or "it cannot be parsed"
    shown = text if text.isprintable() else ascii(text)[1:-1]
    where = f" in line {mark.line + 1}" if mark else ""
    return f" is not valid YAML{where}, mend it: {shown[:200]}"


class _Dumper(yaml.SafeDumper):
    """Puts quotes around every text that would not be read as one."""


def _text_of(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = parse_yaml(f"x: {text}".encode(), "") == {"x": text}
    except (PotemkinError, UnicodeEncodeError):
        plain = False
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style=None if plain or "\n" in text else '"'
    )


_Dumper.add_representer(str, _text_of)
_Dumper.add_representer(tuple, lambda dumper, items: dumper.represent_list(items))
