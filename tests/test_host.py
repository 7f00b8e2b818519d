"""The machine: its containers, and what some systems lack."""

import builtins
import os

import pytest

from mjx_dm import host


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    return root


CGROUP = "sys/fs/cgroup"
TREES = {
    "docker, version 2: the container's cgroup is the top": {
        "proc/self/cgroup": "0::/",
        f"{CGROUP}/memory.max": "2147483648",
        f"{CGROUP}/memory.current": "147483648",
        f"{CGROUP}/cpu.max": "150000 100000",
    },
    "a job inside others, version 2: the tightest counts": {
        "proc/self/cgroup": "0::/slurm/job_1/step_0",
        f"{CGROUP}/slurm/memory.max": "max",
        f"{CGROUP}/slurm/memory.current": "0",
        f"{CGROUP}/slurm/job_1/memory.max": "2147483648",
        f"{CGROUP}/slurm/job_1/memory.current": "147483648",
        f"{CGROUP}/slurm/job_1/cpu.max": "200000 100000",
        f"{CGROUP}/slurm/job_1/step_0/cpu.max": "max 100000",
    },
    "version 1": {
        "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/abc",
        f"{CGROUP}/cpu,cpuacct/cpu.cfs_quota_us": "200000",
        f"{CGROUP}/cpu,cpuacct/cpu.cfs_period_us": "100000",
        # The host's path, which the container does not see.
        f"{CGROUP}/memory/memory.limit_in_bytes": "2147483648",
        f"{CGROUP}/memory/memory.usage_in_bytes": "147483648",
    },
}
UNLIMITED = {
    "proc/self/cgroup": "5:cpu:/\n4:memory:/\n0::/",
    f"{CGROUP}/cpu/cpu.cfs_quota_us": "-1",
    f"{CGROUP}/cpu/cpu.cfs_period_us": "100000",
    f"{CGROUP}/memory/memory.limit_in_bytes": "9223372036854771712",
}


@pytest.fixture
def machine(monkeypatch):
    """16 cores and 64 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(16), raising=False)
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**24}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("name", TREES)
def test_a_container_has_what_its_cgroup_allows(name, tmp_path):
    root = tree(tmp_path, TREES[name] | {"proc/meminfo": "MemAvailable: 60000000 kB"})
    assert host.cores(root) == 2
    assert host.memory(root) == 2**31
    assert host.free_memory(root) == 2_000_000_000


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("files", [UNLIMITED, {}, {"proc/self/cgroup": "0::/gone"}])
def test_without_a_limit_the_whole_machine_counts(files, tmp_path):
    root = tree(tmp_path, files)
    assert (host.cores(root), host.memory(root)) == (16, 2**36)


def test_macos_has_no_affinity(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 10)
    assert host.cores(tmp_path) == 10


def test_windows_has_neither_sysconf_nor_resource_nor_a_load(monkeypatch, tmp_path):
    for name in ("sysconf", "getloadavg"):
        monkeypatch.delattr(os, name, raising=False)
    load = builtins.__import__

    def without(name, *args):
        if name in ("resource", "fcntl"):
            raise ImportError(name)
        return load(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert host.memory(tmp_path) is host.peak_memory() is host.load() is host.lock(0) is None


def test_a_folder_that_cannot_be_flushed_is_let_be_but_no_file(monkeypatch, tmp_path):
    def refuse(descriptor):
        raise OSError("no fsync here")

    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "fsync", refuse)
    host.fsync(tmp_path)
    with pytest.raises(OSError, match="no fsync here"):
        host.fsync(tmp_path / "file")


def test_a_variable_is_hidden_and_put_back(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://gone")
    with host.variable("MPLBACKEND", None):
        assert "MPLBACKEND" not in os.environ
    assert os.environ["MPLBACKEND"] == "module://gone"
