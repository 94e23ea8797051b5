"""Names what a method tried that it must not, and what it left changed, in words that a person can act on.

The audit hook sees what goes through Python and refuses it with a reason. It stops accidents and gives names
to attempts; it is no wall by itself (a method can call the C library directly): the walls are those of
:mod:`benchmark.isolation.kernel`, where the machine has them.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NETWORK = "opened a socket: methods have no network"
_PROCESS = "started a process: methods may start threads only"
_PICKLE = "pickle.find_class"
_FORBIDDEN = {
    **dict.fromkeys(
        ("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request"), _NETWORK
    ),
    **dict.fromkeys(
        ("subprocess.Popen", "os.fork", "os.forkpty", "os.exec", "os.posix_spawn", "os.spawn", "os.system"),
        _PROCESS,
    ),
    _PICKLE: "loaded a pickle: keep numbers in safetensors, which hold no code",
}
_CHANGING = {
    "os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
    "os.truncate": 1, "os.chmod": 1, "os.chown": 1, "shutil.rmtree": 1, "shutil.move": 2,
    "shutil.copyfile": 2,
}  # fmt: skip
"""Events that change files, and how many paths they name."""
_LISTING = ("os.listdir", "os.scandir", "os.chdir")
_PROJECT = ("benchmark", "baselines")
_PATCHABLE = ("torch", "torch.autograd", "torch.nn.functional", "torch.linalg", "math", "builtins")


@dataclass
class Watch:
    """What a confined process may do to files, and what it has tried.

    Args:
        scratch: folder that it may write to.
        readable: what it may read, with all inside.
        hidden: what nobody has business with: asking for it is worth a word.
        strict: refuse to read what is not ``readable``, since nothing else does.
        tried: sentences about what was refused.
    """

    scratch: Path
    readable: tuple[Path, ...]
    hidden: tuple[Path, ...]
    strict: bool
    tried: list[str] = field(default_factory=list)
    _unpacking: bool = False

    def start(self) -> None:
        """Watches from now on; it cannot be undone."""
        sys.addaudithook(self._heard)

    @contextlib.contextmanager
    def unpacking(self) -> Iterator[None]:
        """While the harness itself loads a pickle, in the course of which a method's module is imported."""
        self._unpacking = True
        try:
            yield
        finally:
            self._unpacking = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == _PICKLE and self._unpacking:
            return
        if event in _FORBIDDEN:
            self._refuse(_FORBIDDEN[event])
        elif event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes | os.PathLike):
                writes = bool(flags & _WRITING) if isinstance(flags, int) else False
                self._check(_path(path), writes or (isinstance(mode, str) and set(mode) & set("wax+")))
        elif event in _CHANGING:
            for path in arguments[: _CHANGING[event]]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._check(_path(path), True)
        elif event in _LISTING and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            self._check(_path(arguments[0]), False)

    def _check(self, path: Path, writes: object) -> None:
        if _inside(path, (self.scratch, Path("/dev"))):
            return
        if writes:
            self._refuse(f"wrote to {path}: a method may write to its scratch folder only, the current one")
        if _inside(path, self.readable) or _leads_to(path, self.readable):
            return
        if _inside(path, self.hidden):
            self._refuse(
                f"asked for {path}: a method reads its own folder and what it is handed, nothing else of the "
                "project"
            )
        if self.strict:
            raise PermissionError(f"{path} is not a method's to read")

    def _refuse(self, sentence: str) -> None:
        if sentence not in self.tried:
            self.tried.append(sentence)
        raise PermissionError(sentence)


def _path(path: Any) -> Path:
    return Path(os.path.normpath(os.path.join(os.getcwd(), os.fsdecode(path))))


def _inside(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _leads_to(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(folder.is_relative_to(path) for folder in folders)


class Parts:
    """The functions and classes that everything rests on, as they are now.

    Those of the harness, and of the modules that it computes with: whoever replaces one changes what others
    compute, or means to.
    """

    def __init__(self) -> None:
        self._found = dict(_parts())

    def replaced(self) -> list[str]:
        """Names of what is not what it was, in order."""
        now = dict(_parts())
        missing = object()
        swapped = {name for name, part in self._found.items() if now.get(name, missing) is not part}
        # Modules that were loaded later are known by where their functions come from.
        later = {name for name in now.keys() - self._found.keys() if _is_submitted(now[name])}
        return sorted(swapped | later)


def _is_submitted(part: object) -> bool:
    return str(getattr(part, "__module__", "")).split(".")[0] == "submissions"


def _parts() -> Iterator[tuple[str, object]]:
    for name, module in list(sys.modules.items()):
        if module is None or not (name in _PATCHABLE or name.split(".")[0] in _PROJECT):
            continue
        for attribute, value in list(vars(module).items()):
            if callable(value) and attribute != "Storage":  # torch.Storage follows the default type
                yield f"{name}.{attribute}", value
            if isinstance(value, type) and value.__module__ == name:
                for member, part in list(vars(value).items()):
                    if callable(part) or isinstance(part, property | classmethod | staticmethod):
                        yield f"{name}.{attribute}.{member}", part
    for member, part in list(vars(Tensor).items()):
        yield f"torch.Tensor.{member}", part


def settings_of_process() -> dict[str, Any]:
    """Settings of the process that others could trip over, by name."""
    return {
        "torch's gradient mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's default type": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "cuDNN": torch.backends.cudnn.enabled,
        "the precision of matrix products": torch.get_float32_matmul_precision(),
        "the current folder": os.getcwd(),
        "the environment": dict(os.environ),
        "sys.path": list(sys.path),
        "the handling of signals": (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)),
    }


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
