"""Names what a method tried that it must not, and what it left changed, in words that a person can act on.

The audit hook sees what goes through Python. It stops accidents and gives names to attempts; it is no wall by
itself (a method can call the C library directly, or find what the hook goes by through frames that Python
shows): the walls are those of :mod:`benchmark.isolation.kernel`, where the machine has them.

An attempt is told at once, over a channel that the process can only write to, and ends the process: what the
hook has seen cannot be unseen, and no exception of its own shows a method the hook's frames. Looking for what
it goes by through the collector's objects or other threads' frames, or changing the code of a function, is an
attempt itself. Only where nothing else refuses to read does it raise.
"""

from __future__ import annotations

import operator
import os
import random
import signal
import sys
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

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
_PROJECT = ("benchmark", "baselines")
_PATCHABLE = frozenset(
    (
        *("math", "builtins", "operator", "json", "json.encoder", "json.decoder", "safetensors.torch"),
        *("numpy", "numpy.linalg", "numpy.random", "torch", "torch._tensor", "torch.fft", "torch.func"),
        *("torch.functional", "torch.linalg", "torch.nn", "torch.nn.functional", "torch.nn.init"),
        *("torch.nn.parameter", "torch.overrides", "torch.random", "torch.serialization", "torch.special"),
    )
)
_PATCHABLE_BELOW = (
    "torch.autograd.",
    "torch.optim.",
    "torch.nn.modules.",
    "torch.nn.utils.",
    "torch._functorch.",
)
"""Modules that everything computes with, and those with all below them."""
_CONSTANT = (bool, int, float, str, tuple)
"""What a class says of itself (whether an attack adapts, say)."""


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

    ``leave`` ends the process.
    """
    forbidden, changing, listing = tuple(_FORBIDDEN.items()), tuple(_CHANGING.items()), _LISTING
    known = frozenset(("open", _SETS, *_FORBIDDEN, *_CHANGING, *_LISTING))  # others come by the million
    absolute, inside, leads, writing, denied = _absolute(), _inside, _leads_to, _WRITING, PermissionError
    anything = BaseException
    is_a, is_below, kind, number, text, raw = isinstance, issubclass, type, int, str, bytes
    buffers, paths, plain = (bytearray, memoryview), (type(Path()), os.DirEntry), os.fspath
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
        if given in buffers:
            path = raw(path)
        elif given in paths:
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
            if arguments[1] == "__code__":
                refuse(_CODE)
        elif event == "open":
            path, mode, flags = arguments
            writes = is_a(flags, number) and common(flags, writing)
            for sign in "wax+":
                writes = writes or (is_a(mode, text) and sign in exact(mode))
            check(path, writes)
            if strict and is_a(flags, number) and (common(flags, folder_flag) or is_folder(path)):
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


class Parts:
    """The functions and classes that everything rests on, as they are now.

    Those of the harness, and of the modules that it computes with: whoever replaces one changes what others
    compute, or means to.
    """

    def __init__(self) -> None:
        _wrap_optimizers()
        modules = _modules()
        self._known = {name: _Module(name, vars(module)) for name, module in modules}
        self._modules = {name: (module, type(module)) for name, module in modules}
        self._tensor = _Names(vars(Tensor))

    def replaced(self) -> list[str]:
        """Names of what is not what it was, in order."""
        found = set(self._tensor.swapped("torch.Tensor"))
        now = dict(_modules())
        for name, known in self._known.items():
            found.update(known.replaced(vars(now[name]) if name in now else {}))
            module, kind = self._modules[name]
            if now.get(name) is not module or type(module) is not kind:
                found.add(name)
        for name in now.keys() - self._known.keys():
            # Modules that were loaded later are known by where their functions come from.
            parts = _Module(name, vars(now[name])).parts()
            found.update(place for place, part in parts.items() if _is_submitted(part))
        return sorted(found)


class _Names:
    """What the names of a module or a class stand for, and whether they still do.

    That nothing has changed is seen by the objects' identities: they are thousands, and are looked at after
    every step. A part's own idea of equality is never asked, and ``id`` is an event to the hook.
    """

    def __init__(self, live: Mapping[str, object]) -> None:
        self.held = dict(live)
        self._live = live
        self._names, self._parts = list(self.held), list(self.held.values())

    def same(self, live: Mapping[str, object] | None = None) -> bool:
        """Whether each name stands for what it stood for."""
        now = self._live if live is None else live
        parts = list(now.values())
        return (
            len(parts) == len(self._parts)
            and all(map(operator.is_, parts, self._parts))
            and list(now) == self._names
        )

    def swapped(self, place: str) -> list[str]:
        """Full names of what a class had and has no more, and of what a submission has given it."""
        if self.same():
            return []
        return _differing(self.held, dict(self._live), place)


class _Module(_Names):
    """A module's names, and those of its classes."""

    def __init__(self, name: str, live: Mapping[str, object]) -> None:
        super().__init__(live)
        self._name = name
        classes = ((n, v) for n, v in self.held.items() if isinstance(v, type) and v.__module__ == name)
        self._classes = {attribute: _Names(vars(value)) for attribute, value in classes}

    def replaced(self, live: Mapping[str, object]) -> list[str]:
        """Full names of what is not what it was in the module as it is now."""
        if self.same(live) and all(names.same() for names in self._classes.values()):
            return []
        return _differing(self.parts(), _Module(self._name, live).parts())

    def parts(self) -> dict[str, object]:
        """Functions, classes and what classes hold, by full name, as they were."""
        found: dict[str, object] = {}
        for attribute, value in self.held.items():
            if callable(value) and attribute != "Storage":  # torch.Storage follows the default type
                found[f"{self._name}.{attribute}"] = value
        own = self._name.split(".")[0] in _PROJECT
        for attribute, names in self._classes.items():
            for member, part in names.held.items():
                counts = callable(part) or isinstance(part, property | classmethod | staticmethod)
                if counts or (own and not member.startswith("_") and isinstance(part, _CONSTANT)):
                    found[f"{self._name}.{attribute}.{member}"] = part
        return found


def _differing(before: Mapping[str, object], now: Mapping[str, object], place: str = "") -> list[str]:
    missing = object()
    swapped = [name for name, part in before.items() if now.get(name, missing) is not part]
    later = [name for name in now.keys() - before.keys() if not isinstance(now[name], ModuleType)]
    return [f"{place}.{name}" if place else name for name in (*swapped, *later)]


def _modules() -> list[tuple[str, ModuleType]]:
    """Those that are looked after, by name."""
    return [
        (name, module)
        for name, module in list(sys.modules.items())
        if module is not None
        and (name in _PATCHABLE or name.startswith(_PATCHABLE_BELOW) or name.split(".", 1)[0] in _PROJECT)
    ]


def _wrap_optimizers() -> None:
    """Has torch do now what it does when a class's first optimizer is made: wrap the class's ``step``."""
    base = torch.optim.Optimizer
    for kind in vars(torch.optim).values():
        if isinstance(kind, type) and issubclass(kind, base) and kind is not base:
            object.__new__(kind)._patch_step_function()


def _is_submitted(part: object) -> bool:
    return str(getattr(part, "__module__", "")).split(".")[0] == "submissions"


def settings_of_process() -> dict[str, Any]:
    """Settings of the process that others could trip over, by name."""
    return {
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's default type": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cuDNN": (torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
        "the current folder": os.getcwd(),
        "the environment": dict(os.environ),
        "sys.path": list(sys.path),
        "hooks of all modules": [len(hooks) for hooks in _everybodys_hooks()],
        "torch's default device": str(torch.get_default_device()),
        "modes of torch's functions": len(torch.overrides._get_current_function_mode_stack()),
        "Python's tracing": (sys.gettrace(), sys.getprofile()),
        "the handling of signals": (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)),
    }


def _everybodys_hooks() -> list[Mapping[int, Any]]:
    """Those that run with every module of the process."""
    return [
        value
        for name, value in vars(torch.nn.modules.module).items()
        if name.endswith("_hooks") and name.startswith("_global_")
    ]


def random_states() -> dict[str, Any]:
    """States of the generators that everybody shares, by name."""
    return {
        "torch's global generator": torch.get_rng_state().numpy().tobytes(),
        "numpy's global generator": cast("tuple[Any, ...]", np.random.get_state())[1].tobytes(),
        "Python's global generator": random.getstate(),
    }


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of what differs."""
    return [name for name, value in before.items() if after[name] != value]


def checksum(tensors: Mapping[str, Tensor], conditions: list[bytes]) -> int:
    """Changes when a tensor or a network's condition does."""
    found = zlib.crc32(b"".join(conditions))
    for tensor in tensors.values():
        plain = tensor.detach().cpu().contiguous().view(-1)
        found = zlib.crc32(plain.numpy().data if plain.numel() else b"", found)
    return found
