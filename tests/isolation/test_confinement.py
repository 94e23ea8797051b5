"""What a confined process may not do to the machine, to its harness and to its own traces."""

from __future__ import annotations

import functools
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from harness import ROOT

from benchmark.failures import StepFailed
from benchmark.isolation import starting
from benchmark.isolation.families import end
from benchmark.isolation.host import Guest
from benchmark.isolation.starting import confined, namespaces_work
from benchmark.isolation.warden import LOG_BYTES

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux confines")
MODES = [
    pytest.param(
        True, marks=pytest.mark.skipif(not namespaces_work(), reason="the machine offers no namespaces")
    ),
    False,
]
SECRET = "hunter2-in-the-environment"
GUEST = """
import ctypes, errno, fcntl, gc, json, mmap, os, socket, struct, sys, termios, threading, time
import torch
libc = ctypes.CDLL(None, use_errno=True)

def c(function, *arguments):
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return result

def pipe():
    frame = sys._getframe()
    while "pipe" not in frame.f_locals:
        frame = frame.f_back
    return frame.f_locals["pipe"].fileno()

def channels():
    names = [f"/proc/self/fd/{number}" for number in range(3, 256) if number != pipe()]
    found = [name for name in names if os.path.islink(name) and "socket" in os.readlink(name)]
    return [int(name.rpartition("/")[2]) for name in found]

def ends(attempts):
    found = {}
    for name, attempt in attempts.items():
        try:
            found[name] = repr(attempt())
        except BaseException as error:
            found[name] = type(error).__name__
    return found
"""


@pytest.fixture(params=MODES, ids=["namespaces", "no-namespaces"])
def folder(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's root; processes in it are confined with namespaces, and without."""
    monkeypatch.setattr(starting, "namespaces_work", lambda: request.param)
    for name in ("benchmark", "baselines"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "secret").write_text("nobody's business")
    (tmp_path / "submissions" / "guest").mkdir(parents=True)
    return tmp_path


def ask(folder: Path, code: str, seconds: float = 60, **options: Any) -> Any:
    """What a function ``act`` of a submission returns."""
    module = folder / "submissions" / "guest" / "method.py"
    module.write_text(GUEST + textwrap.dedent(code))
    with confined(folder, (module.parent,), seconds, 4, frozenset({"guest"})) as guest:
        return guest.ask("guest", _act, *options.values())


def _act(*arguments: Any) -> Any:
    """Runs in the confined process."""
    import importlib

    return importlib.import_module("submissions.guest.method").act(*arguments)


def test_what_undoes_the_confinement_or_leaves_the_accounts_is_refused(folder: Path) -> None:
    found = ask(
        folder,
        """
        def act(outside):
            number, here, parent = libc.syscall, os.getpid(), os.getppid() or outside
            open("mine", "w").write("x")
            prctl = lambda *arguments: c(libc.prctl, *arguments, 0, 0, 0)
            own = os.open(__file__, os.O_RDONLY)
            mapped = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            page = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mapped)))
            return ends({
                "death signal": lambda: prctl(1, 0),
                "dumpable": lambda: prctl(4, 1),
                "seccomp": lambda: prctl(22, 1),
                "memory map": lambda: prctl(35, 8),
                "ambient": lambda: prctl(47, 2),
                "memfd": lambda: os.memfd_create("m"),
                "memfd_secret": lambda: c(number, 447, 0),
                "shared memory": lambda: c(libc.shmget, 0, 2**20, 0o1600),
                "message queue": lambda: c(libc.msgget, 0, 0o1600),
                "huge pages": lambda: mmap.mmap(-1, 2**21, flags=0x40022),
                "lock memory": lambda: c(libc.mlock, ctypes.create_string_buffer(4096), 4096),
                "faults": lambda: c(number, 323, 0),
                "record locks": lambda: fcntl.lockf(open("mine", "r+"), fcntl.LOCK_EX),
                "larger pipes": lambda: fcntl.fcntl(os.pipe()[1], 1031, 2**20),
                "typing": lambda: fcntl.ioctl(1, termios.TIOCSTI, b"x"),
                "signals to others": lambda: c(number, 234, parent, parent, 0),
                "priority": lambda: os.setpriority(os.PRIO_USER, 0, 19),
                "affinity": lambda: os.sched_setaffinity(outside, {0}),
                "setuid": lambda: os.chmod("mine", 0o4755),
                "setuid file": lambda: os.open("set", os.O_CREAT | os.O_WRONLY, 0o4755),
                "setuid log": lambda: os.fchmod(1, 0o4777),
                "attributes": lambda: os.setxattr("mine", "user.x", b"1"),
                "new processes": lambda: c(number, 435, bytes(88), 88),
                "hidden numbers": lambda: c(number, 437, -100, b"mine", bytes(24), 24),
                "unknown calls": lambda: c(number, 470),
                "watches": lambda: c(libc.inotify_init1, 0),
                "personality": lambda: c(libc.personality, 0x40000),
                "handles": lambda: c(number, 303, -100, b"mine", bytes(64), bytes(8), 0),
                "pages given up": lambda: os.posix_fadvise(own, 0, 0, os.POSIX_FADV_DONTNEED),
                "pages read ahead": lambda: c(libc.readahead, own, 0, 4096),
                "pages asked for": lambda: os.preadv(own, [bytearray(8)], 0, os.RWF_NOWAIT),
                "pages looked at": lambda: c(libc.mincore, page, 4096, bytes(1)),
                "pages counted": lambda: c(number, 451, own, bytes(16), bytes(40), 0),
                "advice about pages": lambda: mapped.madvise(21),
                "locks": lambda: fcntl.flock(own, fcntl.LOCK_EX),
                "locked memory": lambda: mmap.mmap(-1, 4096, flags=0x2022),
                "past the cache": lambda: os.open(__file__, os.O_RDONLY | os.O_DIRECT),
            })
        """,
        outside=os.getpid(),
    )
    done = {name: end for name, end in found.items() if not end.endswith("Error")}
    assert not done
    assert len(found) == 37


def test_what_computing_needs_is_let_through(folder: Path) -> None:
    found = ask(
        folder,
        """
        def act():
            ran = []
            def work():
                libc.prctl(15, b"a name", 0, 0, 0)
                ran.append(float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()))
            threads = [threading.Thread(target=work) for _ in range(3)]
            [thread.start() for thread in threads]; [thread.join() for thread in threads]
            os.mkdir("folder"); open("folder/file", "w").write("text"); os.rename("folder/file", "folder/new")
            os.chmod("folder/new", 0o600)
            mapped = mmap.mmap(-1, 2**20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS); mapped[:4] = b"text"
            open("/dev/null", "w").write("x")
            drawn = open("/dev/urandom", "rb").read(8)
            return [ran, open("folder/new").read(), os.listdir("folder"), len(drawn)]
        """,
    )
    assert found == [[300.0**3] * 3, "text", ["new"], 8]


def test_memory_that_is_in_no_process_account_is_refused(folder: Path) -> None:
    found = ask(
        folder,
        """
        def act():
            refused = []
            for flags in (mmap.MAP_SHARED | mmap.MAP_ANONYMOUS, 0x3 | mmap.MAP_ANONYMOUS):
                try:
                    mmap.mmap(-1, 2**20, flags)
                except PermissionError:
                    refused.append(flags)
            return len(refused)
        """,
    )
    assert found == 2


def test_what_cuda_needs_is_let_through_on_a_gpu_and_nothing_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        def act():
            own = c(libc.socket, 1, 1, 0) if not refused(lambda: c(libc.socket, 1, 1, 0)) else None
            name = struct.pack("H", 1) + b"\\0" + os.urandom(8)
            return {
                "own socket": own is None,
                "bind": own is None or refused(lambda: c(libc.bind, own, name, len(name))),
                "listen": own is None or refused(lambda: c(libc.listen, own, 1)),
                "shared memory": refused(lambda: mmap.mmap(-1, 2**20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)),
                "own process": refused(lambda: open_(b"/proc/self/comm", os.O_WRONLY)),
                "network": refused(lambda: c(libc.socket, 2, 1, 0)),
                "connect": refused(lambda: c(libc.connect, own or 0, name, len(name))),
                "pair": refused(lambda: c(libc.socketpair, 1, 1, 0, (ctypes.c_int * 2)())),
                "project": refused(lambda: open_(b"FOLDER/tasks/secret", os.O_RDONLY)),
                "machine": refused(lambda: open_(b"/proc/sys/kernel/core_pattern", os.O_WRONLY)),
            }

        def open_(path, flags):
            return c(libc.open, path, flags)

        def refused(attempt):
            try:
                attempt()
            except OSError:
                return True
            return False
    """.replace("FOLDER", str(folder))
    needed = ["own socket", "bind", "listen", "shared memory", "own process"]
    beside = ["network", "connect", "pair", "project", "machine"]
    assert ask(folder, code) == dict.fromkeys(needed + beside, True)
    monkeypatch.setattr(starting, "confinement", functools.partial(starting.confinement, device="cuda"))
    assert ask(folder, code) == dict.fromkeys(needed, False) | dict.fromkeys(beside, True)


def test_nothing_of_the_files_is_had_by_calling_the_c_library(folder: Path) -> None:
    found = ask(
        folder,
        """
        def act(secret, own):
            def read(path):
                descriptor = c(libc.open, path.encode(), 0)
                return os.read(descriptor, 99).decode()
            return ends({
                "secret": lambda: read(secret),
                "passwords": lambda: read("/etc/passwd"),
                "the harness's environment": lambda: read(f"/proc/{own}/environ"),
                "write": lambda: c(libc.open, (secret + "2").encode(), os.O_CREAT | os.O_WRONLY, 0o644),
                "shared memory": lambda: c(libc.open, b"/dev/shm/potemkin", os.O_CREAT | os.O_RDWR, 0o600),
            })
        """,
        secret=str(folder / "tasks" / "secret"),
        own=os.getpid(),
    )
    if not namespaces_work() and not _has_landlock():
        pytest.skip("the machine offers neither namespaces nor Landlock")
    assert {end for end in found.values() if not end.endswith("Error")} == set()


def _has_landlock() -> bool:
    import ctypes

    return bool(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) > 0)


@pytest.mark.parametrize("folder", MODES[:1], ids=["namespaces"], indirect=True)
def test_what_is_seen_of_a_submission_is_a_copy_without_times_modes_and_empty_folders(folder: Path) -> None:
    own = folder / "submissions" / "guest"
    (own / "kept" / "empty").mkdir(parents=True)
    (own / "kept" / "numbers.bin").write_bytes(b"12345")
    (own / "kept" / "numbers.bin").chmod(0o755)
    os.utime(own / "kept" / "numbers.bin", (1e9, 1e9))
    outside = (own / "kept" / "numbers.bin").stat()
    found = ask(
        folder,
        """
        def act():
            here = os.path.dirname(__file__)
            seen = os.stat(os.path.join(here, "kept", "numbers.bin"))
            try:
                c(libc.open, os.path.join(here, "new").encode(), os.O_CREAT | os.O_WRONLY, 0o644)
                writes = True
            except OSError:
                writes = False
            names = sorted(name for _, folders, files in os.walk(here) for name in (*folders, *files))
            text = open(os.path.join(here, "kept", "numbers.bin")).read()
            times = [os.stat(path).st_mtime for path in (here, os.path.join(here, "kept"))]
            return [text, seen.st_dev, seen.st_mtime, seen.st_mode & 0o777, writes, names, times]
        """,
    )
    assert found[0] == "12345"
    assert found[1] != outside.st_dev
    assert found[2:5] == [0.0, 0o644, False]
    assert found[5] == ["kept", "method.py", "numbers.bin"]
    assert found[6] == [0.0, 0.0]


@pytest.mark.parametrize("folder", MODES[:1], ids=["namespaces"], indirect=True)
def test_the_folder_that_a_command_was_started_in_is_not_seen(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path_factory.mktemp("started")
    (started / "diary").write_text("dear diary")
    monkeypatch.syspath_prepend(str(started))
    code = f"""
        def act():
            return ends({{"diary": lambda: open({str(started / "diary")!r}).read()}})
        """
    assert ask(folder, code)["diary"].endswith("Error")
    (started / "thing-1.0.dist-info").mkdir()  # now it is a folder that packages are installed to
    starting._holds_packages.cache_clear()
    assert ask(folder, code)["diary"] == "'dear diary'"


@pytest.mark.parametrize("folder", MODES[:1], ids=["namespaces"], indirect=True)
def test_keys_of_others_and_counts_of_the_machine_are_not_told(folder: Path) -> None:
    code = """
        def act():
            others = ("keys", "key-users", "sys/fs/dentry-state", "vmstat", "stat", "meminfo")
            names = [f"/proc/{name}" for name in others]
            return [open(name).read() for name in names if os.path.exists(name)]
        """
    assert set(ask(folder, code)) <= {""}


def test_threads_and_memory_are_watched_where_nobody_runs_a_step(folder: Path) -> None:
    code = """
        def act():
            threading.stack_size(2**16)
            hold = threading.Event()
            for _ in range(1500):
                threading.Thread(target=hold.wait, args=(60,), daemon=True).start()
            hold.wait(60)
        """
    started = time.monotonic()
    with pytest.raises(StepFailed, match=r"more than 256 threads|can't start new thread"):
        ask(folder, code)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("folder", MODES[1:], ids=["no-namespaces"], indirect=True)
def test_files_without_a_name_are_counted(folder: Path) -> None:
    code = """
        def act():
            kept = []
            for number in range(3):
                kept.append(open(f"part{number}", "wb"))
                os.unlink(f"part{number}")
                for _ in range(12):
                    kept[-1].write(os.urandom(2**24)); kept[-1].flush()
            time.sleep(5)
            return "kept 576 MB"
        """
    with pytest.raises(StepFailed, match="ended its process"):
        ask(folder, code)


def test_a_file_that_would_be_the_package_of_all_submissions_is_not_run(folder: Path) -> None:
    (folder / "submissions" / "__init__.py").write_text("raise SystemExit('run in the name of another')")
    assert ask(folder, "def act():\n    return 'as ever'") == "as ever"


def test_the_environment_is_bare_wherever_it_is_looked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTEMKIN_TEST_TOKEN", SECRET)
    assert SECRET in os.environ.values()
    found = ask(
        folder,
        """
        import posix
        def act():
            libc.getenv.restype = ctypes.c_char_p
            places = [open(f"/proc/self/{name}", "rb").read() for name in ("environ", "cmdline")]
            return [*(repr(place) for place in places), repr(dict(posix.environ)), repr(dict(os.environ)),
                    repr(libc.getenv(b"POTEMKIN_TEST_TOKEN")), repr(sys.argv + sys.orig_argv)]
        """,
    )
    assert "hunter2" not in "".join(found) and "PATH=" not in found[0]
    assert not found[0].strip("b'\\x0"), "what the process was started with is overwritten"
    assert set(eval(found[3])) <= {"HOME", "TMPDIR", "PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"}


def test_a_megabyte_of_what_is_printed_is_kept_and_nothing_is_executable(
    folder: Path, tmp_path: Path
) -> None:
    module = folder / "submissions" / "guest" / "method.py"
    module.write_text(
        GUEST
        + textwrap.dedent(
            """
            def act():
                for _ in range(40):
                    os.write(1, b"x" * 2**20)
                os.fchmod(1, 0o777)
                os.write(2, b"the last words")
                return "done"
            """
        )
    )
    how = starting.confinement(folder, (module.parent,), tmp_path / "scratch", tmp_path / "log", 1, 4)
    process, pipe = starting.launch(starting._own_context(), how)
    guest = Guest(pipe, process.pid or 0, frozenset({"guest"}), frozenset({"guest"}))
    try:
        assert guest.ask("guest", _act) == "done"
    finally:
        guest.close()
        end(process)
    log = tmp_path / "log"
    assert LOG_BYTES <= log.stat().st_size < LOG_BYTES + 100
    assert log.read_bytes().endswith(b"(more was printed than is kept)\n")
    assert not stat.S_IMODE(log.stat().st_mode) & 0o7133


LAUNCHER = """
import os, sys, threading
from pathlib import Path
from benchmark.isolation import families, starting
sys.path.insert(0, {tests!r})
import test_confinement
starting.namespaces_work = lambda: {namespaces}
root = Path({root!r})
with starting.confined(root, (root / "submissions" / "guest",), 600, 4, frozenset({{"guest"}})) as guest:
    guest.greet()
    print(*[member.pid for member in families.family(guest.pid)], flush=True)
    guest.ask("guest", test_confinement._act)
"""


def test_a_confined_process_ends_when_whoever_started_it_is_killed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespaces = namespaces_work()
    module = folder / "submissions" / "guest" / "method.py"
    module.write_text(
        GUEST
        + textwrap.dedent(
            """
            import signal
            def act():
                libc.prctl(1, 0, 0, 0, 0)
                for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
                    signal.signal(number, signal.SIG_IGN)
                while True: pass
            """
        )
    )
    code = LAUNCHER.format(tests=str(Path(__file__).parent), namespaces=namespaces, root=str(folder))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), *sys.path])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as launcher:
        assert launcher.stdout is not None
        members = [psutil.Process(int(pid)) for pid in launcher.stdout.readline().split()]
        assert len(members) == 2, "one that is confined, and one that waits for it"
        _until(lambda: members[1].cpu_times().user > 0.5)
        launcher.send_signal(signal.SIGKILL)
        _, left = psutil.wait_procs(members, timeout=3)
    assert not left


def _until(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def test_the_warden_ends_a_process_that_has_undone_its_death_signal(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys, time
from pathlib import Path
from benchmark.isolation import kernel, libc
from benchmark.isolation.warden import Warden
if os.fork():
    print(sys.stdin.readline()); os._exit(0)
parent = os.getppid()
reader, writer = os.pipe()
kernel.split(Warden(reader, os.open({str(tmp_path / "log")!r}, os.O_CREAT | os.O_WRONLY), parent).wait_for)
libc.die_with_parent(0)
os.close(1); os.close(0)
os.write(writer, str(os.getpid()).encode())
while True: time.sleep(1)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT) as launcher:
        log = tmp_path / "log"
        _until(lambda: log.exists() and log.read_text())
        orphan = psutil.Process(int(log.read_text()))
        launcher.kill()
        assert not psutil.wait_procs([orphan], timeout=3)[1]


@pytest.mark.parametrize(
    "act, words",
    [
        ("gc.get_objects()", "searched through the process's objects"),
        ("try:\n  socket.socket()\n except OSError: pass\n return 1", "opened a socket"),
        ("try:\n  socket.socket()\n except OSError: pass\n os._exit(0)", "opened a socket"),
        ("w = __import__('benchmark.isolation.watch', fromlist='x'); w._FORBIDDEN.clear()", ""),
        ("class S(str):\n  split = lambda *a: []\n open(S('/usr/new'), 'w')", "wrote to /usr/new"),
        ("[os.close(n) for n in channels()]\n return 1", "closed the channel"),
        ("[os.dup2(1, n) for n in channels()]\n socket.socket()", "ended its process before it returned"),
    ],
)
def test_an_attempt_that_was_seen_cannot_be_unseen(act: str, words: str, folder: Path) -> None:
    code = f"def act():\n {act}\n try: socket.socket()\n except OSError: pass\n"
    with pytest.raises(StepFailed) as raised:
        ask(folder, code, seconds=20)
    assert (raised.value.blame, raised.value.culprit) == ("method", "guest")
    assert (words or "opened a socket") in raised.value.reason


BY_HAND = """
def act():
    for part in (HEADER, b'"forged"', struct.pack("<Q", 8) + b"{}      "):
        os.write(pipe(), struct.pack("!i", len(part)) + part)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "header, words",
    [
        ({"status": "ok", "seconds": float("nan"), "replaced": 7}, None),
        ({"status": "ok", "seconds": 1e300, "replaced": ["\x1b[2J\n"] * 9000}, "replaced and 19 more"),
        ({"status": "crashed", "reason": "\x1b[2J\ud800one\ntwo", "culprit": ["x"]}, "guest: one two"),
        ({"status": ["ok"]}, "sent what is no answer"),
        ([1], "sent what is no answer"),
        ({"status": "ok", "culprit": {}, "tried": "x"}, None),
    ],
)
def test_headers_are_believed_within_bounds(header: object, words: str | None, folder: Path) -> None:
    module = folder / "submissions" / "guest" / "method.py"
    module.write_text(GUEST + f"HEADER = {json.dumps(header).encode()!r}\n" + BY_HAND)
    with confined(folder, (module.parent,), 20, 4, frozenset({"guest"})) as guest:
        if words is None:
            assert guest.ask("guest", _act) == "forged"
            assert 0 <= guest.noticed[-1]["seconds"] < 20 and 0 <= guest.overhead < 20
            return
        with pytest.raises(StepFailed) as raised:
            guest.ask("guest", _act)
    assert words in raised.value.reason and raised.value.reason.isprintable()
