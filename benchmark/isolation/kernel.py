"""What Linux enforces on a process that confines itself: what it sees and may take.

Namespaces (``unshare``, ``pivot_root``) leave it a tree of read-only system and project code and one small
folder in memory of its own, no network, and no other process. They need no privilege. Beside them stand the
rules of :mod:`benchmark.isolation.landlock` and the filter of :mod:`benchmark.isolation.filter`. Where a
machine offers some of them only, or none, the callers say which are in force.

Sources: the manual pages user_namespaces(7), pivot_root(2), mount_setattr(2).
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmark.isolation import libc

if sys.platform != "win32":
    import resource

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
_CLONE_NEWIPC, _CLONE_NEWUTS = 0x8000000, 0x4000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MNT_DETACH, _AT_FDCWD, _AT_RECURSIVE, _ATTR_READ_ONLY, _ATTR_NO_SETUID = 2, -100, 0x8000, 1, 2
_MOUNT_SETATTR, _PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
_NOBODY = 65534
_SPARE_GB = 2.0
"""Address space that is reserved and never filled: threads' stacks, the allocator's arenas."""
_USUAL_GB = 16
_SCRATCH_FILES = 16384
"""Files cost memory of the kernel's, however little they hold."""
_DEVICES = ("null", "full", "random", "urandom")
"""No ``zero``: mapped and shared it is memory in no process's account."""
_OWN = ("self", "thread-self", "mounts", "net", "cpuinfo", "filesystems", "uptime", "version")
"""What is seen below ``/proc`` beside the process itself; all else counts what the whole machine does."""
_OF_OTHERS = ("keys", "key-users", "sys/fs", "vmstat", "stat")
"""What is not seen below ``/proc`` where a GPU is, whose driver looks for more."""
_LARGEST_COPY = 64 * 2**20
"""A file of more than so many bytes is shown as it is."""
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime")
"""What programs need of a system; no passwords, no host names, no homes."""


@dataclass(frozen=True)
class View:
    """What a confined process sees of the files.

    Args:
        readable: files and folders, read-only.
        copied: files and folders of which a copy is seen, in memory of the process's own: what the kernel
            keeps of the originals all who read them share, and times and modes are no part of what is hashed.
        hidden: folders of which nothing is seen, but for what of ``readable`` lies inside.
        scratch: the folder that it may write to; what it holds lives in memory and ends with the process.
        scratch_mb: how much that may be.
        devices: device files beside those that every program expects.
    """

    readable: tuple[Path, ...]
    hidden: tuple[Path, ...]
    scratch: Path
    scratch_mb: int = 256
    devices: tuple[Path, ...] = ()
    copied: tuple[Path, ...] = ()

    @property
    def seen(self) -> tuple[Path, ...]:
        """All that may be read."""
        return (*self.readable, *self.copied)


def devices(view: View) -> tuple[Path, ...]:
    """All device files that are seen."""
    return (*(Path("/dev") / name for name in _DEVICES), *view.devices)


def limit(file_mb: int, memory_gb: float | None, files: int = 256) -> None:
    """Sets what one file may hold, how many may be open, and how much memory may be taken from now on.

    Memory is counted as address space, of which threads take their share too, so that there is an end to
    them. None sets no limit there: programs of a GPU reserve more than there is. No core is ever dumped.
    """
    if sys.platform == "win32":
        return
    values = {resource.RLIMIT_FSIZE: file_mb * 2**20, resource.RLIMIT_NOFILE: files, resource.RLIMIT_CORE: 0}
    if memory_gb is not None:
        values[resource.RLIMIT_AS] = _address_space() + int((memory_gb + _SPARE_GB) * 2**30)
    for what, value in values.items():
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(what, (value, value))


def split(wait_for: Callable[[int], NoReturn]) -> None:
    """The caller goes on in a new process; the one that it was waits for that, and ends as it ends."""
    child = os.fork()
    if child:
        wait_for(child)
    libc.die_with_parent()


def enter_namespaces(view: View, wait_for: Callable[[int], NoReturn]) -> None:
    """Moves the process into namespaces of its own.

    The process is split: the caller goes on as the first process of a new process namespace. Call it from a
    process of one thread.

    Args:
        view: what is seen of the files.
        wait_for: what the process that it was does from now on, given the new one's id.

    Raises:
        OSError: the machine does not let it; the process is then of no further use.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "namespaces are Linux's")
    library = libc.load()
    user, group = os.geteuid(), os.getegid()
    libc.call(
        library.unshare,
        _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS,
    )
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {group} 1")
    split(wait_for)
    _change_root(library, view)


def _address_space() -> int:
    """Bytes of address space that the process has."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return _USUAL_GB * 2**30


def _change_root(library: Any, view: View) -> None:
    """Makes a new root of what is to be seen, and forgets the old one."""
    _mount(library, "none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount(library, "tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    new, old = Path("/new"), Path("/old")
    for folder in (new, old):
        Path(f"/tmp{folder}").mkdir()
    _pivot(library, "/tmp", "/tmp/old")
    os.chdir("/")
    _mount(library, "tmpfs", str(new), "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4m,mode=755")
    _fill(library, view, old, new)
    libc.call(library.umount2, b"/old", _MNT_DETACH)
    os.chdir(new)
    _pivot(library, ".", ".")
    libc.call(library.umount2, b".", _MNT_DETACH)
    os.chdir("/")


def _fill(library: Any, view: View, old: Path, new: Path) -> None:
    """Mounts what is to be seen below ``new``."""

    def hidden(path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in view.hidden)

    system = tuple(Path(path) for path in SYSTEM)
    outside = [path for path in (*system, *view.readable) if not hidden(path)]
    for path in sorted(set(outside)):
        _show(library, path, old, new)
    covered = [place for folder in view.hidden if (place := _below(new, folder)).is_dir()]
    for place in covered:
        _mount(library, "tmpfs", str(place), "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in sorted(set(view.readable) - set(outside)):
        _show(library, path, old, new)
    for path in sorted(view.copied):
        _copy(library, path, old, new)
    for device in devices(view):
        _show(library, device, old, new, read_only=False)
    place = _below(new, Path("/proc"))
    place.mkdir()
    with contextlib.suppress(OSError):  # where the machine's own is masked, there is none
        _mount(library, "proc", str(place), "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        _mask(library, place, _below(old, Path("/dev/null")), gpu=bool(view.devices))
    place = _below(new, view.scratch)
    place.mkdir(parents=True, exist_ok=True)
    size = f"size={view.scratch_mb}m,nr_inodes={_SCRATCH_FILES},mode=700"
    _mount(library, "tmpfs", str(place), "tmpfs", _MS_NOSUID | _MS_NODEV, size)
    for folder in (*covered, new):
        _set_read_only(library, folder, recursive=False)


def _mask(library: Any, processes: Path, nothing: Path, gpu: bool) -> None:
    """Hides what tells of the machine as a whole: counters there are a memory from process to process."""
    everything = [name for name in os.listdir(processes) if not name.isdigit() and name not in _OWN]
    for name in _OF_OTHERS if gpu else everything:
        place = processes / name
        with contextlib.suppress(OSError):  # where the kernel has none
            if place.is_symlink():
                continue
            if place.is_dir():
                _mount(library, "tmpfs", str(place), "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4k,mode=555")
            else:
                _mount(library, str(nothing), str(place), None, _MS_BIND)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _show(library: Any, path: Path, old: Path, new: Path, read_only: bool = True) -> None:
    """Mounts a file or a folder of the old tree at the same path of the new one; links stay links."""
    source, place = _below(old, path), _below(new, path)
    if source.is_symlink():
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_symlink() and not place.exists():
            place.symlink_to(os.readlink(source))
        return
    if not source.exists():
        return
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    elif not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    _mount(library, str(source), str(place), None, _MS_BIND | _MS_REC)
    if read_only:
        _set_read_only(library, place, recursive=True)


def _copy(library: Any, path: Path, old: Path, new: Path) -> None:
    """Puts a copy of a file or folder at its path of the new tree: bytes and names, and nothing else of it.

    Folders without files are left out, and times, modes and owners are all the same.
    """
    source, place = _below(old, path), _below(new, path)
    files = [source] if source.is_file() else sorted(f for f in source.rglob("*") if f.is_file())
    files = [file for file in files if not file.is_symlink()]
    if source.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        room = sum(2 * 4096 + min(file.stat().st_size, _LARGEST_COPY) for file in files) + 2**20
        _mount(library, "tmpfs", str(place), "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={room},mode=755")
    for file in files:
        target = place / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.stat().st_size > _LARGEST_COPY:
            target.touch()
            _mount(library, str(file), str(target), None, _MS_BIND)
            _set_read_only(library, target, recursive=True)
            continue
        target.write_bytes(file.read_bytes())
        target.chmod(0o644)
    if source.is_dir():
        for inner in (place, *place.rglob("*")):
            if inner.is_dir():
                inner.chmod(0o755)
            if not os.path.ismount(inner) or inner == place:
                os.utime(inner, (0, 0))
        _set_read_only(library, place, recursive=False)


def _set_read_only(library: Any, place: Path, recursive: bool) -> None:
    attributes = struct.pack("<QQQQ", _ATTR_READ_ONLY | _ATTR_NO_SETUID, 0, 0, 0)
    how = _AT_RECURSIVE if recursive else 0
    number = _MOUNT_SETATTR
    libc.call(library.syscall, number, _AT_FDCWD, str(place).encode(), how, attributes, len(attributes))


def _mount(
    library: Any, source: str, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    libc.call(library.mount, *texts, flags, None if data is None else data.encode())


def _pivot(library: Any, new: str, old: str) -> None:
    libc.call(library.syscall, _PIVOT_ROOT[platform.machine()], new.encode(), old.encode())
