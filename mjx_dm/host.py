"""The machine that a run is on: what systems and containers have, or do not have, of one thing.

Each stands behind one function that says what happens where it is missing. `root` is where the
file system begins.
"""

import contextlib
import math
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def cores(root: Path = _ROOT) -> int:
    """Cores that this process may use: those of its affinity, or of its cgroup's quota if fewer.

    macOS and Windows know no affinity of a process: there all of the machine's count.
    """
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, min([count, *map(math.ceil, _quotas(root))]))


def memory(root: Path = _ROOT) -> int | None:
    """Bytes of the machine, or of its cgroup if that may have fewer; None where nothing tells."""
    limits = [int(text) for text in _cgroup(root, "memory.max", "memory", "memory.limit_in_bytes")]
    with contextlib.suppress(AttributeError, ValueError, OSError):  # Windows has no sysconf
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min((x for x in limits if x > 0), default=None)


def free_memory(root: Path = _ROOT) -> int | None:
    """Bytes that can still be had without swapping; None where nothing tells."""
    found = []
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = (root / "proc/meminfo").read_text().splitlines()
        kibibytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(kibibytes))
    now, before = "memory.max memory.current", "memory.limit_in_bytes memory.usage_in_bytes"
    for text in _cgroup(root, now, "memory", before):
        limit, used = map(int, text.split())
        found.append(max(0, limit - used))
    return min(found, default=None)


def load() -> float | None:
    """Processes that wanted a core in the last minute, on average; None on Windows."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def peak_memory() -> int | None:
    """Bytes that this process has had in memory at most; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def fsync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk.

    Windows and some network file systems cannot flush a folder; its names are then as safe as the
    system makes them. Raises OSError where a file cannot be flushed.
    """
    try:
        # Windows flushes only what is open for writing.
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        if not path.is_dir():
            raise


def lock(descriptor: int) -> bool | None:
    """Locks an open file until it is closed, or its process ends in whatever way.

    False where another one has it; None where the system or the file system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def names() -> dict[str, str]:
    """What tells this machine from others: its name, and of Linux the kernel's boot, which all of
    a machine's containers share."""
    found = {"host": socket.gethostname()}
    with contextlib.suppress(OSError):
        found["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return found


@contextlib.contextmanager
def variable(name: str, value: str | None) -> Iterator[None]:
    """What is imported inside finds an environment variable with this value, or not at all."""
    before = os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def import_mujoco() -> None:
    """Imports MuJoCo, also where MUJOCO_GL names an OpenGL that cannot be had.

    MuJoCo itself cannot be imported there, though most of what it does draws nothing. MUJOCO_GL
    stays as it is, for what does draw to say so.
    """
    try:
        import mujoco
    except Exception:  # of the OpenGL library's, whatever it is
        with variable("MUJOCO_GL", "disable"):
            import mujoco
        # Those that the first try has loaded are not loaded again, so nothing puts them in place.
        for name, module in list(sys.modules.items()):
            parent, _, last = name.rpartition(".")
            if parent == "mujoco":
                setattr(mujoco, last, module)


def _quotas(root: Path) -> Iterator[float]:
    """Cores' worth of time that the cgroups of this process may use."""
    for text in _cgroup(root, "cpu.max", "cpu", "cpu.cfs_quota_us cpu.cfs_period_us"):
        quota, period = map(int, text.split())
        if quota > 0 and period > 0:
            yield quota / period


def _cgroup(root: Path, names: str, controller: str, old_names: str) -> Iterator[str]:
    """What limits this process: the files `names` of its version 2 cgroup and of those around it,
    and in version 1 the files `old_names` of the `controller`'s, joined by spaces."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folders, files = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], names.split()
        elif controller in controllers.split(","):
            folders = [f"sys/fs/cgroup/{controllers}", f"sys/fs/cgroup/{controller}"]
            files = old_names.split()
        else:
            continue
        for top in (root / folder for folder in folders):
            # A container may see its own cgroup as the top, and its path as on the host.
            inside = top / path.lstrip("/")
            for folder in (inside, *inside.parents):
                with contextlib.suppress(OSError, ValueError):
                    text = " ".join((folder / file).read_text().strip() for file in files)
                    if "max" not in text.split():
                        [int(number) for number in text.split()]  # or ValueError: no such limit
                        yield text
                if folder == top:
                    break
