"""The system calls that a confined process may ask Linux for (seccomp), and no others, for good.

Refused are calls that reach others (processes, sockets, signals), that undo what confines, that take memory
outside of the accounts, and that change what a file is beyond its content. A few calls are refused by what
they are asked: a filter sees numbers, not what pointers lead to, so that a newer call that hides its numbers
behind a pointer is said not to be there, and the C library falls back on the older one.

Sources: the manual pages seccomp(2), syscalls(2), prctl(2); the numbers are those of the kernel's headers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.isolation import libc

_PR_SET_SECCOMP = 22
_CAPABILITY_VERSION = 0x20080522
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN, _AND = 0x20, 0x15, 0x45, 0x35, 0x06, 0x54
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in what the filter is given of a call."""
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_UNKNOWN = 452
"""Calls from here on are newer than this list, or of the convention with numbers of its own: not there."""

_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Other processes.
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "kill": (62, 129), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "ioprio_set": (251, 30),
    # The network, and handing over descriptors.
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242), "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    # Memory that nobody counts.
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196),
    "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189), "semget": (64, 190), "mq_open": (240, 180),
    "userfaultfd": (323, 282), "mlock": (149, 228), "mlock2": (325, 284), "mlockall": (151, 230),
    "remap_file_pages": (216, 234), "vmsplice": (278, 75), "move_pages": (279, 239),
    "migrate_pages": (256, 238), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # What the kernel keeps of files in memory, and locks: another process could read what is left there.
    "fadvise64": (221, 223), "readahead": (187, 213), "mincore": (27, 232), "cachestat": (451, 451),
    "sync_file_range": (277, 84), "flock": (73, 32),
    # What is seen of the files, and what a file is.
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "mknod": (133, None), "mknodat": (259, 33), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    # The machine, the clock, keys, and filters of one's own.
    "unshare": (272, 97), "setns": (308, 268), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "capset": (126, 91), "bpf": (321, 280), "perf_event_open": (298, 241),
    "seccomp": (317, 277), "personality": (135, 92), "modify_ldt": (154, None), "iopl": (172, None),
    "ioperm": (173, None), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171),
    "clock_adjtime": (305, 266), "sethostname": (170, 161), "setdomainname": (171, 162),
    "vhangup": (153, 58), "lookup_dcookie": (212, 18),
}  # fmt: skip
"""Numbers on x86-64 and ARM64; None where the call is not there."""
_NOT_THERE = {"clone3": (435, 435), "openat2": (437, 437)}
"""Calls whose numbers lie behind pointers."""

_CLONE_THREAD, _MAP_HUGETLB, _SET_IDS = 0x10000, 0x40000, 0o6000
_MAP_SHARED, _MAP_ANONYMOUS, _MAP_LOCKED = 0x1, 0x20, 0x2000
_DIRECT = getattr(os, "O_DIRECT", 0x4000)
_HARMLESS_PRCTL = (2, 3, 15, 16, 21, 23, 30, 39, 42, 51, 64, 0x53564D41)
"""Reading settings of one's own, and naming threads and memory; what else can be set confines or frees."""
_FCNTL_REACHING_OUT = (6, 7, 37, 38, 8, 10, 15, 1024, 1026, 1031)
"""Record locks (kernel memory without end), owners of signals, leases, watches of folders, size of pipes."""
_ADVICE_ABOUT_FILES = (3, 9, 20, 21, 22, 23, 25)
"""Reading pages ahead, giving them up, and what else a file's pages can be told by ``madvise``."""
_IOCTL_REACHING_OUT = (0x5412, 0x540E, 0x541C, 0x541D, 0x5423, 0x8901, 0x8902, 0x40086602)
"""Typing into a terminal and taking one over, owners of signals, attributes of files."""
_FOR_A_GPU = ("bind", "listen")
"""CUDA does not start without a socket of the machine's own (AF_UNIX) that it binds and listens at, nor
without shared memory of no file; it accepts and connects nothing. Found by refusing one call at a time."""
_AF_UNIX = 1


@dataclass(frozen=True)
class _Condition:
    """What one argument of a call must be.

    Args:
        call: numbers of the call on x86-64 and ARM64.
        argument: which one.
        test: ``among`` values, ``not among`` them, ``with`` any of their bits, ``without`` all of them, or
            ``not all of`` the bits of the only value.
        values: to compare with.
    """

    call: tuple[int | None, int | None]
    argument: int
    test: str
    values: tuple[int, ...]


def _conditions(gpu: bool) -> tuple[_Condition, ...]:
    itself = os.getpid()
    # Shared memory without a file is in no process's account.
    of_the_device = (
        _Condition((41, 198), 0, "among", (_AF_UNIX,))
        if gpu
        else _Condition((9, 222), 3, "not all of", (_MAP_SHARED | _MAP_ANONYMOUS,))
    )
    return (
        of_the_device,
        _Condition((56, 220), 0, "with", (_CLONE_THREAD,)),  # threads may be started, processes may not
        _Condition((302, 261), 0, "among", (0,)),  # limits are set on oneself only
        _Condition((157, 167), 0, "among", _HARMLESS_PRCTL),
        _Condition((234, 131), 0, "among", (itself,)),  # a signal to a thread of one's own, as abort() sends
        _Condition((141, 140), 0, "among", (0,)),  # the priority of oneself, not of all of a user's
        _Condition((141, 140), 1, "among", (0,)),
        *(
            _Condition(call, 0, "among", (0,))
            for call in ((203, 122), (142, 118), (144, 119), (314, 274))  # sched_set...: oneself
        ),
        _Condition((72, 25), 1, "not among", _FCNTL_REACHING_OUT),
        _Condition((16, 29), 1, "not among", _IOCTL_REACHING_OUT),
        _Condition((9, 222), 3, "without", (_MAP_HUGETLB, _MAP_LOCKED)),
        _Condition((28, 233), 2, "not among", _ADVICE_ABOUT_FILES),
        _Condition((327, 286), 5, "among", (0,)),  # preadv2: whether a page is in memory is not told
        _Condition((328, 287), 5, "among", (0,)),
        _Condition((2, None), 1, "without", (_DIRECT,)),
        _Condition((257, 56), 2, "without", (_DIRECT,)),
        _Condition((90, None), 1, "without", (_SET_IDS,)),  # chmod, fchmod, fchmodat
        _Condition((91, 52), 1, "without", (_SET_IDS,)),
        _Condition((268, 53), 2, "without", (_SET_IDS,)),
        _Condition((2, None), 2, "without", (_SET_IDS,)),  # open, openat, creat
        _Condition((257, 56), 3, "without", (_SET_IDS,)),
        _Condition((85, None), 1, "without", (_SET_IDS,)),
    )


def filter_calls(gpu: bool = False) -> None:
    """Gives up all privileges and refuses system calls that no method needs, for good.

    Args:
        gpu: whether CUDA will be used, which needs a few calls more.

    Raises:
        OSError: the machine does not let it, or its processor's calls are not known here.
    """
    machine = platform.machine()
    if not sys.platform.startswith("linux") or machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"the system calls of {machine} are not known")
    program = b"".join(_filter(machine, gpu))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    library = libc.load()
    capset = _REFUSED["capset"][list(_ARCHITECTURES).index(machine)]
    libc.call(library.syscall, capset, struct.pack("<Ii", _CAPABILITY_VERSION, 0), bytes(24))
    libc.allow_no_privileges()
    packed = Program(len(program) // 8, program)
    libc.call(library.prctl, _PR_SET_SECCOMP, 2, ctypes.byref(packed), 0, 0)


def _instruction(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, true, false, value)


_REFUSE = _instruction(_RETURN, _ERRNO | errno.EPERM)
_DENY_KNOWLEDGE = _instruction(_RETURN, _ERRNO | errno.ENOSYS)
_LET = _instruction(_RETURN, _ALLOW)


def _filter(machine: str, gpu: bool) -> Iterator[bytes]:
    """The filter's program, instruction by instruction."""
    which = list(_ARCHITECTURES).index(machine)
    yield _instruction(_LOAD, _ARCHITECTURE)
    yield _instruction(_EQUAL, _ARCHITECTURES[machine], 1, 0)
    yield _instruction(_RETURN, _KILL)
    yield _instruction(_LOAD, _NUMBER)
    yield _instruction(_AT_LEAST, _UNKNOWN, 0, 1)
    yield _DENY_KNOWLEDGE
    for numbers in _NOT_THERE.values():
        yield _instruction(_EQUAL, numbers[which], 0, 1)
        yield _DENY_KNOWLEDGE
    by_call: dict[int, list[bytes]] = {}
    number: int | None
    for condition in _conditions(gpu):
        number = condition.call[which]
        if number is not None:
            by_call.setdefault(number, []).extend(_test(condition))
    for number, tests in by_call.items():
        yield _instruction(_EQUAL, number, 0, len(tests) + 1)
        yield from tests
        yield _LET
    for name, refused in _REFUSED.items():
        number = refused[which]
        if number is not None and not (gpu and name in _FOR_A_GPU):
            yield _instruction(_EQUAL, number, 0, 1)
            yield _REFUSE
    yield _LET


def _test(condition: _Condition) -> Iterator[bytes]:
    """Refuses a call that does not meet the condition, and goes on with one that does."""
    yield _instruction(_LOAD, _ARGUMENTS + 8 * condition.argument)
    if condition.test == "not all of":
        (bits,) = condition.values
        yield _instruction(_AND, bits)
        yield _instruction(_EQUAL, bits, 0, 1)
        yield _REFUSE
        return
    code = _ANY_BIT if condition.test.startswith("with") else _EQUAL
    passes = condition.test in ("among", "with")
    last = len(condition.values) - 1
    for index, value in enumerate(condition.values):
        if passes:  # on to what follows the refusal
            yield _instruction(code, value, last - index + 1, 0)
        else:  # to the refusal; the last value that is not met jumps over it
            yield _instruction(code, value, last - index, 1 if index == last else 0)
    yield _REFUSE
