"""What Linux enforces on a process that confines itself: what it sees, may ask for and may take.

Namespaces (``unshare``, ``pivot_root``) leave it a tree of read-only system and project code and one small
folder in memory of its own, no network, and no other process. A filter of system calls (seccomp) then
refuses new processes, sockets, and everything that could undo the first. Both need no privilege. Where a
machine offers one of them only, or none, the callers say which is in force.

Sources: the manual pages user_namespaces(7), pivot_root(2), mount_setattr(2), seccomp(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

if sys.platform != "win32":
    import resource

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
_CLONE_NEWIPC, _CLONE_NEWUTS, _CLONE_THREAD = 0x8000000, 0x4000000, 0x10000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_MNT_DETACH, _AT_FDCWD, _AT_RECURSIVE, _ATTR_READ_ONLY, _ATTR_NO_SETUID = 2, -100, 0x8000, 1, 2
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9
_NOBODY = 65534
_SPARE_GB = 2.0
"""Address space that is reserved and never filled: threads' stacks, the allocator's arenas."""
_USUAL_GB = 16
_DEVICES = ("null", "zero", "full", "random", "urandom")
_CAPABILITY_VERSION = 0x20080522
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime")
"""What programs need of a system; no passwords, no host names, no homes."""

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets in what the filter is given of a call."""
_FOREIGN_NUMBERS = 0x40000000
"""Calls of the 32-bit-pointer convention begin here; none is needed, and they have numbers of their own."""
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CALLS: dict[str, dict[str, int]] = {
    "x86_64": {
        "fork": 57, "vfork": 58, "execve": 59, "execveat": 322, "socket": 41, "connect": 42, "ptrace": 101,
        "process_vm_readv": 310, "process_vm_writev": 311, "mount": 165, "umount2": 166, "pivot_root": 155,
        "chroot": 161, "unshare": 272, "setns": 308, "keyctl": 250, "add_key": 248, "request_key": 249,
        "capset": 126, "bpf": 321,
        "perf_event_open": 298, "userfaultfd": 323, "kexec_load": 246, "init_module": 175,
        "finit_module": 313, "delete_module": 176, "reboot": 169, "kill": 62, "tkill": 200,
        "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "mknod": 133, "mknodat": 259,
    },
    "aarch64": {
        "execve": 221, "execveat": 281, "socket": 198, "connect": 203, "ptrace": 117,
        "process_vm_readv": 270, "process_vm_writev": 271, "mount": 40, "umount2": 39, "pivot_root": 41,
        "chroot": 51, "unshare": 97, "setns": 268, "keyctl": 219, "add_key": 217, "request_key": 218,
        "capset": 91, "bpf": 280,
        "perf_event_open": 241, "userfaultfd": 282, "kexec_load": 104, "init_module": 105,
        "finit_module": 273, "delete_module": 106, "reboot": 142, "kill": 129, "tkill": 130,
        "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "mknodat": 33,
    },
}  # fmt: skip
_SHARED_CALLS = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442,
}  # fmt: skip
_CLONE = {"x86_64": 56, "aarch64": 220}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_CLONE3 = 435


@dataclass(frozen=True)
class View:
    """What a confined process sees of the files.

    Args:
        readable: files and folders, read-only.
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


def enter_namespaces(view: View) -> None:
    """Moves the process into namespaces of its own.

    The process is split: the caller goes on as the first process of a new process namespace, and the process
    that it was waits for it and ends as it ends. Call it from a process of one thread.

    Raises:
        OSError: the machine does not let it; the process is then of no further use.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOSYS, "namespaces are Linux's")
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    _call(
        libc.unshare,
        _CLONE_NEWUSER | _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS,
    )
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} {group} 1")
    child = os.fork()
    if child:
        _wait_for(child)
    _change_root(libc, view)


def filter_calls() -> None:
    """Gives up all privileges and refuses system calls that no method needs, for good.

    Raises:
        OSError: the machine does not let it, or its processor's calls are not known here.
    """
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in _CALLS:
        raise OSError(errno.ENOSYS, f"no filter for {sys.platform} on {machine}")
    program = b"".join(_filter(machine))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("<Ii", _CAPABILITY_VERSION, 0)
    _call(libc.syscall, _CALLS[machine]["capset"], header, bytes(24))
    _call(libc.prctl, _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    packed = Program(len(program) // 8, program)
    _call(libc.prctl, _PR_SET_SECCOMP, 2, ctypes.byref(packed), 0, 0)


def _address_space() -> int:
    """Bytes of address space that the process has."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return _USUAL_GB * 2**30


def die_with_parent() -> None:
    """Has the kernel end this process when its parent ends (Linux; elsewhere nothing happens)."""
    if sys.platform.startswith("linux"):
        _call(ctypes.CDLL(None, use_errno=True).prctl, _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def _call(function: Callable[..., int], *arguments: object) -> int:
    """Calls a C function; raises what it says in ``errno``."""
    result = int(function(*arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _wait_for(child: int) -> None:
    """Ends as the child ends."""
    die_with_parent()
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


def _change_root(libc: ctypes.CDLL, view: View) -> None:
    """Makes a new root of what is to be seen, and forgets the old one."""
    die_with_parent()
    _mount(libc, "none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount(libc, "tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    new, old = Path("/new"), Path("/old")
    for folder in (new, old):
        Path(f"/tmp{folder}").mkdir()
    _pivot(libc, "/tmp", "/tmp/old")
    os.chdir("/")
    _mount(libc, "tmpfs", str(new), "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4m,mode=755")
    _fill(libc, view, old, new)
    _call(libc.umount2, b"/old", _MNT_DETACH)
    os.chdir(new)
    _pivot(libc, ".", ".")
    _call(libc.umount2, b".", _MNT_DETACH)
    os.chdir("/")


def _fill(libc: ctypes.CDLL, view: View, old: Path, new: Path) -> None:
    """Mounts what is to be seen below ``new``."""

    def hidden(path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in view.hidden)

    system = tuple(Path(path) for path in SYSTEM)
    outside = [path for path in (*system, *view.readable) if not hidden(path)]
    for path in sorted(set(outside)):
        _show(libc, path, old, new)
    for folder in view.hidden:
        place = _below(new, folder)
        if place.is_dir():
            _mount(libc, "tmpfs", str(place), "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in sorted(set(view.readable) - set(outside)):
        _show(libc, path, old, new)
    for device in (*(Path("/dev") / name for name in _DEVICES), *view.devices):
        _show(libc, device, old, new, read_only=False)
    place = _below(new, Path("/proc"))
    place.mkdir()
    with contextlib.suppress(OSError):  # where the machine's own is masked, there is none
        _mount(libc, "proc", str(place), "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    place = _below(new, view.scratch)
    place.mkdir(parents=True, exist_ok=True)
    size = f"size={view.scratch_mb}m,mode=700"
    _mount(libc, "tmpfs", str(place), "tmpfs", _MS_NOSUID | _MS_NODEV, size)
    _set_read_only(libc, new, recursive=False)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _show(libc: ctypes.CDLL, path: Path, old: Path, new: Path, read_only: bool = True) -> None:
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
    _mount(libc, str(source), str(place), None, _MS_BIND | _MS_REC)
    if read_only:
        _set_read_only(libc, place, recursive=True)


def _set_read_only(libc: ctypes.CDLL, place: Path, recursive: bool) -> None:
    attributes = struct.pack("<QQQQ", _ATTR_READ_ONLY | _ATTR_NO_SETUID, 0, 0, 0)
    how = _AT_RECURSIVE if recursive else 0
    number = _SHARED_CALLS["mount_setattr"]
    _call(libc.syscall, number, _AT_FDCWD, str(place).encode(), how, attributes, len(attributes))


def _mount(
    libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind)]
    _call(libc.mount, *texts, flags, None if data is None else data.encode())


def _pivot(libc: ctypes.CDLL, new: str, old: str) -> None:
    _call(libc.syscall, _CALLS[platform.machine()]["pivot_root"], new.encode(), old.encode())


def _filter(machine: str) -> Iterator[bytes]:
    """The filter's program, instruction by instruction."""

    def instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, true, false, value)

    refuse = instruction(_RETURN, _ERRNO | errno.EPERM)
    allow = instruction(_RETURN, _ALLOW)
    yield instruction(_LOAD, _ARCHITECTURE)
    yield instruction(_EQUAL, _ARCHITECTURES[machine], 1, 0)
    yield instruction(_RETURN, _KILL)
    yield instruction(_LOAD, _NUMBER)
    yield instruction(_AT_LEAST, _FOREIGN_NUMBERS, 0, 1)
    yield refuse
    # Threads may be started, processes may not. The newer call's flags cannot be read here: it is said not to
    # be there, and the C library falls back on the older one.
    yield instruction(_EQUAL, _CLONE3, 0, 1)
    yield instruction(_RETURN, _ERRNO | errno.ENOSYS)
    yield instruction(_EQUAL, _CLONE[machine], 0, 4)
    yield instruction(_LOAD, _FIRST_ARGUMENT)
    yield instruction(_ANY_BIT, _CLONE_THREAD, 1, 0)
    yield refuse
    yield allow
    # Limits may be set on oneself, not on others.
    yield instruction(_EQUAL, _PRLIMIT[machine], 0, 4)
    yield instruction(_LOAD, _FIRST_ARGUMENT)
    yield instruction(_EQUAL, 0, 1, 0)
    yield refuse
    yield allow
    for number in (_CALLS[machine] | _SHARED_CALLS).values():
        yield instruction(_EQUAL, number, 0, 1)
        yield refuse
    yield allow
