"""Names what a method tried that it must not, in words that a person can act on.

The audit hook sees what goes through Python. It stops accidents and gives names to attempts; it is no wall by
itself (a method can call the C library directly, or find what the hook goes by through frames that Python
shows): the walls are those of :mod:`benchmark.isolation.kernel`, where the machine has them.

An attempt is told at once, over a channel that the process can only write to, and ends the process: what the
hook has seen cannot be unseen, and no exception of its own shows a method the hook's frames. Looking for what
it goes by through the collector's objects or other threads' frames, or changing the code of a function, is an
attempt itself. Only where nothing else refuses to read does it raise.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmark.isolation.attempts import Teller

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NETWORK = "opened a socket: methods have no network"
_PROCESS = "started a process: methods may start threads only"
_CODE = "changed the code of a function: a method must leave the harness as it is"
_EVENT = "raised an event of Python's own: a method must leave the harness as it is"
_PATH = "gave a path of a class of its own: a method names files by texts"
_SEARCH = "searched through the process's objects: a method works on what it is handed"
_FORBIDDEN = {
    **dict.fromkeys(
        ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request"), _NETWORK
    ),
    **dict.fromkeys(
        ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system"),
        _PROCESS,
    ),
    **dict.fromkeys(
        ("gc.get_objects", "gc.get_referrers", "sys._current_frames", "sys._current_exceptions"), _SEARCH
    ),
    "sqlite3.connect": "opened a database: a method keeps its numbers in files of its own folder",
    "pickle.find_class": "loaded a pickle: keep numbers in safetensors, which hold no code",
}
_CHANGING = {
    "os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
    "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "shutil.rmtree": 1, "shutil.move": 2,
    "shutil.copyfile": 2, "os.utime": 1,
}  # fmt: skip
"""Events that change files, and how many paths they name."""
_SETS = "object.__setattr__"
_LISTING = ("os.listdir", "os.scandir", "os.chdir")


def watch(
    tell: Teller,
    writable: tuple[Path, ...],
    readable: tuple[Path, ...],
    hidden: tuple[Path, ...],
    strict: bool,
) -> None:
    """Watches from now on what the process does through Python; it cannot be undone.

    Args:
        tell: is told of every attempt.
        writable: folders and devices that it may write to.
        readable: what it may read, with all inside.
        hidden: what nobody has business with: asking for it is worth a word.
        strict: refuse to read what is not ``readable``, since nothing else does.
    """
    sys.addaudithook(_hook(tell, _texts(writable), _texts(readable), _texts(hidden), strict))


def _texts(paths: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(str(path) for path in paths)


def _hook(
    tell: Teller,
    writable: tuple[str, ...],
    readable: tuple[str, ...],
    hidden: tuple[str, ...],
    strict: bool,
    leave: Callable[[int], object] = os._exit,
) -> Callable[[str, tuple[Any, ...]], None]:
    """The hook: goes by its own variables alone, and calls what is built in, of which it has copies.

    Of what it is handed it asks nothing but types and, of those that are built in, values: an operator or a
    property of a method's own class would run in the hook's frames.

    ``leave`` ends the process.
    """
    forbidden, changing, listing = tuple(_FORBIDDEN.items()), tuple(_CHANGING.items()), _LISTING
    known = frozenset(("open", _SETS, *_FORBIDDEN, *_CHANGING, *_LISTING))  # others come by the million
    absolute, inside, leads, writing, denied = _absolute(), _inside, _leads_to, _WRITING, PermissionError
    anything = BaseException
    is_below, kind, number, text, raw = issubclass, type, int, str, bytes
    a_path, an_entry, plain = type(Path()), os.DirEntry, os.fspath
    is_folder, folder_flag = _is_folder(), getattr(os, "O_DIRECTORY", 0)
    common, exact = (
        int.__and__,
        str.__str__,
    )  # what is handed over can be of a class with operators of its own

    def refuse(sentence: str) -> None:
        try:
            tell(sentence)
        finally:
            leave(1)

    def check(path: Any, writes: object) -> None:
        given = kind(path)
        if given is bytearray or given is memoryview:
            path = raw(path)
        elif given is a_path or given is an_entry:
            path = plain(path)
        elif path is None or is_below(given, number):
            return
        elif not is_below(given, (text, raw)):
            refuse(_PATH)
        place = absolute(path)
        if inside(place, writable):
            return
        if writes:
            refuse(f"wrote to {place}: a method may write to its scratch folder only, the current one")
        if inside(place, readable) or leads(place, readable):
            return
        if inside(place, hidden):
            refuse(
                f"asked for {place}: a method reads its own folder and what it is handed, nothing else of "
                "the project"
            )
        if strict:
            raise denied(f"{place} is not a method's to read")

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        for name, sentence in forbidden:
            if event == name:
                refuse(sentence)
        if event == _SETS:
            if kind(arguments[1]) is text and arguments[1] == "__code__":
                refuse(_CODE)
        elif event == "open":
            path, mode, flags = arguments
            is_flags, is_mode = is_below(kind(flags), number), is_below(kind(mode), text)
            writes = is_flags and common(flags, writing)
            for sign in "wax+":
                writes = writes or (is_mode and sign in exact(mode))
            check(path, writes)
            if strict and is_flags and (common(flags, folder_flag) or is_folder(path)):
                check(path, True)  # what is opened from a folder names no path that could be looked at
            return
        for name, count in changing:
            if event == name:
                for path in arguments[:count]:
                    check(path, True)
        if event in listing and arguments:
            check(arguments[0], False)

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in known:
            return
        try:
            seen(event, arguments)
        except denied:
            raise
        except anything:  # of a path that is none, an event that nobody but a method raises
            refuse(_EVENT)

    return heard


def _absolute() -> Callable[[Any], str]:
    """Makes absolute paths of what paths are written as, without ``.`` and ``..``."""
    current, text, is_below, kind = os.getcwd, str, issubclass, type
    exact, decode = str.__str__, bytes.decode

    def absolute(path: Any) -> str:
        is_text = is_below(kind(path), text)
        written = exact(path) if is_text else decode(path, "utf-8", "surrogateescape")
        parts: list[str] = []
        for part in (written if written[:1] == "/" else f"{current()}/{written}").split("/"):
            if part == "..":
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        return "/" + "/".join(parts)

    return absolute


def _is_folder() -> Callable[[Any], bool]:
    """Tells whether a path is a folder's; asks the system and nothing that can be exchanged."""
    look, kind, folder, nothing = os.stat, 0o170000, 0o040000, (OSError, ValueError, TypeError)

    def is_folder(path: Any) -> bool:
        try:
            return look(path).st_mode & kind == folder
        except nothing:
            return False

    return is_folder


def _inside(path: str, folders: tuple[str, ...]) -> bool:
    for folder in folders:  # noqa: SIM110 - calls nothing that can be exchanged
        if path == folder or path.startswith(folder + "/"):
            return True
    return False


def _leads_to(path: str, folders: tuple[str, ...]) -> bool:
    for folder in folders:  # noqa: SIM110
        if path == "/" or folder == path or folder.startswith(path + "/"):
            return True
    return False
