"""Runs on eight devices and of two processes, as a user starts them. Slow: programs are compiled
for each."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mjx_dm.checkpoints.manifest import complete, verify
from mjx_dm.checkpoints.saving import restore_arrays
from mjx_dm.records import read_metrics

ROOT = Path(__file__).parents[2]
TINY = [
    "--preset", "smoke", "--task", "InvertedPendulum-v5", "--engine", "mujoco", "--learner", "sac",
    "--critic", "scalar", "--actor-widths", "8", "--critic-widths", "8", "--normalize-reward",
]  # fmt: skip
ENDLESS = ["--env-steps", "100000000", "--checkpoint-minutes", "0.02", "--no-save-replay"]
SECONDS = 1800

pytestmark = pytest.mark.slow


def start(script, *arguments, devices=1, **environment):
    env = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-u", str(ROOT / script), *map(str, arguments)],
        env=env | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    """The exit status, and what was written."""
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def start_two(run_dir, *arguments, devices=1, under_slurm=False):
    """Two processes of a run, which are told where they are, or find it out from Slurm."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = []
    for place in (0, 1):
        slurm = {
            "SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
            "SLURM_PROCID": str(place), "SLURM_LOCALID": str(place),
            "JAX_COORDINATOR_PORT": str(port),
        }  # fmt: skip
        told = ["--coordinator", f"localhost:{port}", "--num-processes", 2, "--process-id", place]
        processes.append(
            start(
                "train.py",
                *[*arguments, "--run-dir", run_dir, "--distributed"],
                *([] if under_slurm else told),
                devices=devices,
                **(slurm if under_slurm else {}),
            )
        )
    return processes


def wait_for_checkpoints(run_dir, count, processes):
    """Until so many were written, or a process ended."""
    until = time.monotonic() + SECONDS
    while len(complete(run_dir / "checkpoints")) < count and time.monotonic() < until:
        assert all(x.poll() is None for x in processes), [x.communicate() for x in processes]
        time.sleep(0.2)


def test_a_run_of_eight_devices_goes_on_on_four_and_on_one_and_is_scored(tmp_path):
    run_dir = tmp_path / "run"
    status, out, err = ended(start("train.py", *TINY, "--run-dir", run_dir, devices=8))
    assert status == 0, err
    assert "on 8 devices" in out
    begun = restore_arrays(run_dir / "checkpoints")[1]
    assert begun["env"]["obs"].shape[0] == 8
    for devices, steps in ((4, 1024), (1, 1536)):
        again = ["--run-dir", run_dir, "--resume", "--env-steps", steps]
        status, out, err = ended(start("train.py", *again, devices=devices))
        assert status == 0, err
        assert f"Resumed at {steps - 512:,} environment steps, with its replay." in out
    metrics = read_metrics(run_dir / "metrics.jsonl")
    trained = [x for x in metrics["critic_loss"] if np.isfinite(x)]
    assert metrics["step"][-1] == 1536 and len(trained) > 10
    out_dir = tmp_path / "scored"
    arguments = [run_dir, "--episodes", 1, "--no-video", "--out", out_dir]
    status, _, err = ended(start("eval_render.py", *arguments))
    assert status == 0, err
    assert json.loads((out_dir / "eval.json").read_text())["returns"]


def test_mjx_physics_runs_on_eight_devices(tmp_path):
    arguments = [*TINY, "--engine", "mjx", "--run-dir", tmp_path / "run"]
    status, out, err = ended(start("train.py", *arguments, devices=8))
    assert status == 0, err
    metrics = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert np.nansum(metrics["quarantined"]) == 0 and np.isfinite(metrics["critic_loss"][-2])


def test_of_two_processes_the_first_writes_and_both_stop_on_a_signal_to_the_other(tmp_path):
    run_dir = tmp_path / "run"
    first, second = processes = start_two(run_dir, *TINY, *ENDLESS)
    wait_for_checkpoints(run_dir, 1, processes)
    assert json.loads((run_dir / "lock.json").read_text())["pid"] == first.pid
    second.send_signal(signal.SIGTERM)
    (status, out, err), (other_status, other_out, other_err) = map(ended, processes)
    assert (status, other_status) == (143, 143), err + other_err
    assert "on 2 devices of 2 processes" in out and "Go on with --resume." in out
    assert "env steps" not in other_out
    last = read_metrics(run_dir / "metrics.jsonl")["step"][-1]
    assert max(complete(run_dir / "checkpoints")) == last, "saved after the signal"
    assert json.loads((run_dir / "config.json").read_text())["hosts"]["distributed"] is False
    assert not (run_dir / "lock.json").exists()


def test_a_run_goes_on_in_two_processes_that_slurm_started_and_then_in_one(tmp_path):
    run_dir = tmp_path / "run"
    status, _, err = ended(start("train.py", *TINY, "--run-dir", run_dir))
    assert status == 0, err
    again = ["--resume", "--env-steps", 1024]
    (status, out, err), (other_status, _, other_err) = map(
        ended, start_two(run_dir, *again, under_slurm=True)
    )
    assert (status, other_status) == (0, 0), err + other_err
    assert "Resumed at 512 environment steps, with its replay." in out
    again = ["--run-dir", run_dir, "--resume", "--env-steps", 1536]
    status, out, err = ended(start("train.py", *again))
    assert status == 0, err
    assert "Resumed at 1,024 environment steps, with its replay." in out
    verify(complete(run_dir / "checkpoints")[1536])


@pytest.mark.parametrize("killed", [0, 1])
def test_where_a_process_is_killed_the_other_ends_and_what_is_saved_is_intact(tmp_path, killed):
    run_dir = tmp_path / "run"
    processes = start_two(run_dir, *TINY, *ENDLESS)
    wait_for_checkpoints(run_dir, 2, processes)
    processes[killed].kill()
    begun = time.monotonic()
    status, _, err = ended(processes[1 - killed])
    assert status not in (0, None) and time.monotonic() - begun < 120
    # JAX ends a process on its own where its coordinator, the first process, is gone.
    said = "Another process of the run is gone", "another task died"
    assert any(x in err for x in said[: 1 + (killed == 0)]), err
    for folder in complete(run_dir / "checkpoints").values():
        verify(folder)
    processes[killed].communicate()
