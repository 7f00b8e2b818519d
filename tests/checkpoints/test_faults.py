"""Whatever disks and people do to checkpoints and policies, the newest good one stays."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError
from mjx_dm.checkpoints.policy_file import Network, PolicyFile
from mjx_dm.types import Spaces

FILES = Path(__file__).parent / "data"
# What a save asks of the system, less what Orbax does in threads of its own.
OPERATIONS = (
    (os, "fsync"),
    (os, "replace"),
    (Path, "mkdir"),
    (Path, "rename"),
    (Path, "write_text"),
    (Path, "write_bytes"),
    (shutil, "copyfile"),
)


class Fault:
    """Fails the operation of a number, and counts how many there are."""

    def __init__(self, monkeypatch, number, code):
        self.seen = 0
        for owner, name in OPERATIONS:
            monkeypatch.setattr(owner, name, self._failing(getattr(owner, name), number, code))

    def _failing(self, operation, number, code):
        def called(*args, **how):
            self.seen += 1
            if self.seen == number:
                raise OSError(code, os.strerror(code))
            return operation(*args, **how)

        return called


def every_fault(monkeypatch, attempt):
    """Calls attempt() once for each operation in it, failing that one; yields each error."""
    number = 1
    while True:
        code = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO)[number % 4]
        with monkeypatch.context() as patch:
            fault = Fault(patch, number, code)
            try:
                attempt()
                error = None
            except SaveError as caught:
                error = caught
        if fault.seen < number:
            return
        yield error
        number += 1


def test_whatever_fails_in_a_save_the_newest_good_checkpoint_stays(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {"w": np.full(3, 1.0)})
    tried = 0
    for error in every_fault(monkeypatch, lambda: checkpoint.save(tmp_path, 2, {"w": np.ones(3)})):
        # All that follows the last rename may fail: the checkpoint is there.
        step, _ = checkpoint.restore(tmp_path, {"w": np.ones(3)})
        assert step == 2 or (error is not None and str(error).count("\n") == 0)
        assert not list(tmp_path.glob(".*")), "nothing is left of what could not be written"
        shutil.rmtree(tmp_path / "000000000002", ignore_errors=True)
        tried += 1
    assert tried > 10


def a_policy(env_steps):
    actor = {"Dense_0": {"kernel": np.full((6, 8), float(env_steps), np.float32)}}
    normalizer = {"weight": np.ones((), np.float32), "mean": np.zeros(6, np.float32)}
    return PolicyFile(
        task="Reacher-v5",
        task_options={},
        task_version=1,
        spaces=Spaces(6, 1, (-1.0,), (1.0,)),
        network=Network((8,), 1, "silu", False, True, -5.0, 0.0),
        obs_dtype="float32",
        normalize_obs=True,
        env_steps=env_steps,
        actor=actor | {"head": np.zeros((8, 2), np.float32)},
        normalizer=normalizer | {"var": np.ones(6, np.float32)},
    )


def test_whatever_fails_in_keeping_a_policy_one_of_the_two_is_whole(tmp_path, monkeypatch):
    policy_file.write(tmp_path, a_policy(1))
    tried = 0
    for error in every_fault(monkeypatch, lambda: policy_file.write(tmp_path, a_policy(2))):
        found = policy_file.read(tmp_path / policy_file.NAME)
        assert found.env_steps == found.actor["Dense_0"]["kernel"][0, 0]
        assert found.env_steps == 1 or error is None or "could not be written" in str(error)
        policy_file.write(tmp_path, a_policy(1))
        tried += 1
    assert tried > 5


def test_a_directory_that_was_renamed_is_gone_on_with(tmp_path):
    checkpoint.save(tmp_path / "before", 1, {"w": np.ones(3)})
    (tmp_path / "before").rename(tmp_path / "after ä: 1")
    assert checkpoint.restore(tmp_path / "after ä: 1", {"w": np.zeros(3)})[0] == 1
    checkpoint.save(tmp_path / "after ä: 1", 2, {"w": np.ones(3)})
    (tmp_path / "link").symlink_to(tmp_path / "after ä: 1")
    assert checkpoint.restore(tmp_path / "link", {"w": np.zeros(3)})[0] == 2


@pytest.mark.parametrize("step", [10**12 - 1, 10**12, 2**53 + 1, 10**18 - 1])
def test_steps_of_any_length_are_kept_in_order(tmp_path, step):
    checkpoint.save(tmp_path, 7, {"w": np.ones(3)})
    checkpoint.save(tmp_path, step, {"w": np.ones(3)})
    assert checkpoint.latest_step(tmp_path) == step
    assert checkpoint.restore(tmp_path, {"w": np.zeros(3)})[0] == step


def test_a_checkpoint_of_another_jax_is_read():
    """Saved under jax 0.7.2, orbax-checkpoint 0.11.24 and numpy 2.2.6."""
    template = {
        "learner": {
            "kernel": jnp.zeros((3, 4)),
            "half": jnp.zeros(5, jnp.bfloat16),
            "updates": jnp.int32(0),
        },
        "none": jnp.zeros((0, 3)),
        "key": jax.random.key(0),
    }
    step, found = checkpoint.restore(FILES / "jax-0.7.2", template)
    assert step == 7 and found["learner"]["updates"] == 7
    np.testing.assert_array_equal(found["learner"]["kernel"], np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(found["learner"]["half"], jnp.arange(5, dtype=jnp.bfloat16))
    assert found["key"] == jax.random.key(3)


@pytest.mark.slow
def test_a_process_killed_while_it_saves_leaves_a_good_checkpoint(tmp_path):
    """Ten times, at another moment each, and each goes on where the one before was killed."""
    program = f"""
import numpy as np
from mjx_dm.checkpoints import saving
step = saving.latest_step({str(tmp_path)!r}) or 0
while True:
    step += 1
    tree = {{"w": np.full(100_000, step, np.int64), "step": np.int64(step)}}
    saving.save({str(tmp_path)!r}, step, tree, keep=2)
    print(step, flush=True)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    rng, last = np.random.default_rng(0), 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, text=True
        )
        said = [process.stdout.readline()]
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        said += process.communicate()[0].splitlines()
        told = max(int(x) for x in said if re.fullmatch(r"\d+\s*", x))
        step, tree = checkpoint.restore_arrays(tmp_path)
        assert step >= told > last, "no checkpoint that was told is lost"
        assert tree["step"] == step and (tree["w"] == step).all()
        last = step


def test_damage_to_every_checkpoint_is_told_and_nothing_is_removed(tmp_path):
    for step in (1, 2, 3):
        path = checkpoint.save(tmp_path, step, {"w": np.ones(3)})
        (path / "manifest.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no older checkpoint is intact"):
        checkpoint.restore_arrays(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
