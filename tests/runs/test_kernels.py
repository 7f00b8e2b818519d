"""Warp's kernels are compiled in a process of its own, once."""

import pickle
import subprocess

import pytest

from mjx_dm.config import replace
from mjx_dm.presets import PRESETS
from mjx_dm.runs import kernels

CONFIG = replace(PRESETS["smoke"], engine="mujoco", physics="fast")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    warp = pytest.importorskip("warp")
    monkeypatch.setattr(warp.config, "kernel_cache_dir", str(tmp_path))
    return tmp_path


def test_kernels_are_compiled_once_for_the_same_worlds(folder, monkeypatch):
    given = []

    def run(command, input, **more):
        given.append(pickle.loads(input))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    others = [replace(CONFIG, num_envs=16), replace(CONFIG, task="Ant-v5")]
    for config in (CONFIG, CONFIG, *others):
        assert kernels.compile_apart(config) is None
    assert given == [CONFIG, *others]


def test_a_process_that_fails_is_told_and_tried_again(folder, monkeypatch):
    fails = subprocess.CompletedProcess([], 1, stderr=b"Traceback\nValueError: no driver\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: fails)
    for _ in range(2):
        assert "at the first launch" in (told := kernels.compile_apart(CONFIG))
        assert "(ValueError: no driver)" in told
    assert not list(folder.iterdir())


@pytest.mark.slow
def test_the_process_steps_the_worlds(folder):
    assert kernels.compile_apart(CONFIG) is None
    assert len(list(folder.iterdir())) == 1
    broken = replace(CONFIG, task="No-v4")
    assert "is unknown" in kernels.compile_apart(broken)
