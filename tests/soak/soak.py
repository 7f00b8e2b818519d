"""Breaks a real run in every way that a night can, by chance, and checks that nothing is lost.

    python tests/soak/soak.py --minutes 60 --seed 1

One tiny run in one directory is trained on and on; in every round something is done to it, and
after every round the invariants are checked:

- the newest good checkpoint is always found, its numbers are finite, and its step never goes back,
  but for a checkpoint that was damaged on purpose;
- metrics.jsonl has every step up to its last once, in order, also where the disk was full;
- a second owner is refused and changes nothing, and no program ends with a traceback.

Prints its counts as JSON; the exit status is 1 where an invariant did not hold.
"""

import argparse
import collections
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

# Behind the two lines above, which these imports need.
import numpy as np  # noqa: E402
from limits import Limit, give  # noqa: E402

from mjx_dm.checkpoints.manifest import CheckpointError, complete, find_verified  # noqa: E402
from mjx_dm.checkpoints.saving import restore_arrays  # noqa: E402
from mjx_dm.records import read_metrics  # noqa: E402

# The smallest that trains: compiling takes most of a round.
SETTINGS = (
    *("--preset", "smoke", "--task", "InvertedPendulum-v5", "--env-steps", "1000000000"),
    *("--num-envs", "4", "--random-steps", "16", "--chunk-iterations", "8", "--batch-size", "8"),
    *("--actor-batch-size", "4", "--actor-widths", "8", "--critic-widths", "8"),
    *("--checkpoint-minutes", "0.01", "--replay-minutes", "0.02", "--keep-checkpoints", "4"),
    *("--eval-every", "4096"),
)
STEPS_OF_A_LAUNCH = 4 * 8
# Of a process's own time, see `limits`.
START_SECONDS, END_SECONDS = 300, 120
SIGNALS = {"int": signal.SIGINT, "term": signal.SIGTERM, "hup": signal.SIGHUP}
SIGNALS["usr1"] = signal.SIGUSR1


class Broken(AssertionError):
    """An invariant that did not hold."""


class Soak:
    """The run, what was done to it, and what it had reached."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.run = folder / "run"
        self.reached = 0
        self.holes: set[int] = set()
        self.to_do: list[str] = []
        self.may_lack_metrics = False
        self.counts: collections.Counter[str] = collections.Counter()
        self.said = ""

    def round(self) -> None:
        """One start of the run, something that is done to it, and the checks."""
        if not self.to_do:  # each once before one comes again
            self.to_do = [x for x in dir(self) if x.startswith("do_")]
            self.rng.shuffle(self.to_do)
        name = self.to_do.pop()
        print(f"{time.strftime('%H:%M:%S')} {name[3:]}", file=sys.stderr, flush=True)
        self.counts[name[3:]] += 1
        getattr(self, name)()
        self.check()

    # What is done ---------------------------------------------------------------------------------

    def do_kill(self) -> None:
        process = self.start()
        self.wait(process)
        process.kill()
        self.end(process, -signal.SIGKILL)

    def do_kill_while_it_starts(self) -> None:
        process = self.start()
        time.sleep(self.rng.uniform(0.5, 15.0))
        process.kill()
        self.end(process, -signal.SIGKILL)

    def do_stop(self) -> None:
        number = SIGNALS[self.rng.choice(sorted(SIGNALS))]
        process = self.start()
        self.wait(process)
        process.send_signal(number)
        self.end(process, 128 + number)
        self.is_saved()

    def do_stop_twice(self) -> None:
        process = self.start()
        self.wait(process)
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        self.end(process, 128 + signal.SIGTERM, -signal.SIGTERM)

    def do_close_the_pipe(self) -> None:
        process = self.start()
        self.wait(process)
        assert process.stdout is not None
        process.stdout.close()
        self.end(process, 128 + signal.SIGPIPE)
        self.is_saved()

    def do_second_owner(self) -> None:
        process = self.start()
        self.wait(process)
        for again in (["--resume"], list(SETTINGS)):
            command = [sys.executable, "train.py", *again, "--run-dir", str(self.run)]
            second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if second.returncode != 2 or second.stderr.count("\n") != 1:
                raise Broken(f"a second owner: {second.returncode} {second.stderr}")
        process.send_signal(signal.SIGTERM)
        self.end(process, 128 + signal.SIGTERM)
        self.is_saved()

    def do_small_files(self) -> None:
        """No file may be larger than a few KiB: as a full disk, from one moment to the next."""
        kibibytes = self.rng.choice([1, 8, 32])
        process = self.start(limit=1024 * kibibytes)
        self.may_lack_metrics = True
        self.work_on_a_full_disk(process)

    def do_fill_the_disk(self) -> None:
        """On a disk of its own where there may be one, which is full while the run trains."""
        if os.geteuid() != 0:
            return self.do_small_files()
        disk = self.folder / "disk"
        disk.mkdir(exist_ok=True)
        # With room for what a run that has not begun yet will write.
        size = 2 * sum(x.stat().st_size for x in self.run.rglob("*") if x.is_file()) + 2**24
        options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
        if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            return self.do_small_files()
        self.counts["tmpfs"] += 1
        home, self.run = self.run, disk / "run"
        try:
            if home.exists():
                shutil.copytree(home, self.run)
            process = self.start()
            self.wait(process)
            (disk / "ballast").touch()
            with (disk / "ballast").open("wb", buffering=0) as ballast:
                try:
                    while ballast.write(bytes(4096)):
                        pass
                except OSError:
                    pass
            time.sleep(3.0)
            if self.rng.random() < 0.5:  # room again
                (disk / "ballast").unlink()
                time.sleep(65.0)  # it tries again after a minute
                process.send_signal(signal.SIGTERM)
                self.end(process, 128 + signal.SIGTERM)
                self.is_saved()
            else:
                process.send_signal(signal.SIGTERM)
                self.end(process, 1, 128 + signal.SIGTERM)
                self.may_lack_metrics = True
                (disk / "ballast").unlink()
            self.check()
            if home.exists():
                shutil.rmtree(home)
            shutil.copytree(self.run, home)
        finally:
            self.run = home
            subprocess.run(["umount", "-l", str(disk)], check=True)

    def do_flip_a_byte(self) -> None:
        """In the newest checkpoint, which the run puts aside."""
        steps = complete(self.run / "checkpoints")
        if len(steps) < 2:
            return self.do_stop()
        files = [x for x in steps[max(steps)].rglob("*") if x.is_file() and x.stat().st_size]
        file = self.rng.choice(sorted(files))
        data = bytearray(file.read_bytes())
        data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        file.write_bytes(data)
        self.reached = sorted(steps)[-2]
        self.do_stop()
        if "put aside" not in self.said:
            raise Broken(f"a flipped byte in {file} was not seen: {self.said}")

    def do_move(self) -> None:
        self.run = self.run.rename(self.folder / f"run {self.counts['move']}: %d")
        self.do_stop()

    def do_change_the_devices(self) -> None:
        """On two, from a checkpoint of one; the next round is on one again."""
        process = self.start(devices=2)
        self.wait(process)
        process.send_signal(signal.SIGTERM)
        self.end(process, 128 + signal.SIGTERM)
        self.is_saved()
        if "on 2 devices" not in self.said:
            raise Broken(f"it does not tell of two devices: {self.said}")

    # How ------------------------------------------------------------------------------------------

    def start(self, limit: int = 0, devices: int = 1) -> subprocess.Popen:
        goes_on = bool(complete(self.run / "checkpoints"))
        if not goes_on and self.run.exists():
            shutil.rmtree(self.run)  # killed before its first checkpoint
        settings = ["--resume"] if goes_on else SETTINGS
        self.counts["resumed" if goes_on else "begun"] += 1
        self.lines_before, self.may_lack_metrics = self.lines(), False
        start = [sys.executable, str(Path(__file__).with_name("start.py")), str(limit)]
        return subprocess.Popen(
            [*start, sys.executable, "train.py", *settings, "--run-dir", str(self.run)],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # The compiler's cache lies where a limit on the size of files reaches it.
            env=os.environ
            | {"JAX_ENABLE_COMPILATION_CACHE": "0", "PYTHONPATH": str(ROOT)}
            | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
            | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"},
        )

    def wait(self, process: subprocess.Popen) -> None:
        """Until the run has trained, and a little more."""
        limit, last = Limit(process, START_SECONDS), self.lines_before
        # A run that is resumed writes the file anew before it adds to it.
        while self.lines() == last or self.lines()[1] <= last[1]:
            last = self.lines()
            if process.poll() is not None or limit.is_over():
                raise Broken(f"the run does not train: {self.rest(process)}")
            time.sleep(0.1)
        time.sleep(self.rng.uniform(0.0, 5.0))

    def work_on_a_full_disk(self, process: subprocess.Popen) -> None:
        limit = Limit(process, START_SECONDS)
        while process.poll() is None and not limit.is_over():
            time.sleep(0.5)
            if self.rng.random() < 0.02:
                process.send_signal(signal.SIGTERM)
                break
        # A signal while it compiles acts as usual: there is nothing to save.
        self.end(process, 1, 2, 128 + signal.SIGTERM, -signal.SIGTERM)

    def end(self, process: subprocess.Popen, *allowed: int) -> None:
        give(process, END_SECONDS)
        if process.poll() is None:
            raise Broken(f"the run does not end: {self.rest(process)}")
        self.said = self.rest(process)
        if "Traceback" in self.said or process.returncode not in allowed:
            raise Broken(f"ended with {process.returncode}, not {allowed}: {self.said}")

    def rest(self, process: subprocess.Popen) -> str:
        if process.stdout is None or process.stdout.closed:
            return ""
        if process.poll() is None:
            process.kill()
        return process.stdout.read()

    def lines(self) -> tuple[int, int]:
        """Of metrics.jsonl: the time of its last change, and its size."""
        try:
            found = (self.run / "metrics.jsonl").stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    # The invariants -------------------------------------------------------------------------------

    def is_saved(self) -> None:
        """Whoever ends with a word has saved the last step that it told of."""
        steps = read_metrics(self.run / "metrics.jsonl")["step"]
        if max(complete(self.run / "checkpoints")) < max(steps):
            raise Broken(f"step {max(steps)} was not saved: {self.said}")

    def check(self) -> None:
        self.counts["checks"] += 1
        checkpoints = self.run / "checkpoints"
        if not complete(checkpoints):
            if self.reached:
                raise Broken(f"no checkpoint is left of step {self.reached}")
            return
        try:
            folder, manifest = find_verified(checkpoints, None)
        except CheckpointError as error:
            raise Broken(str(error)) from error
        if manifest["step"] < self.reached:
            raise Broken(f"{folder} is older than step {self.reached}")
        self.reached = manifest["step"]
        self.counts["steps"] = self.reached
        for leaf in leaves(restore_arrays(checkpoints)[1]):
            if leaf.dtype.kind == "f" and not np.isfinite(leaf).all():
                raise Broken(f"{folder} holds what is not finite")
        if (self.run / "metrics.jsonl").exists():
            metrics = read_metrics(self.run / "metrics.jsonl")
            steps = [
                step
                for step, updates in zip(metrics["step"], metrics["updates"], strict=True)
                if not math.isnan(updates)  # a score has a line of its own
            ]
            wanted = list(range(STEPS_OF_A_LAUNCH, steps[-1] + 1, STEPS_OF_A_LAUNCH))
            missing = set(wanted) - set(steps)
            if self.may_lack_metrics:  # it ended on a full disk, and told of them
                self.holes |= missing
            if missing - self.holes or not set(steps) <= set(wanted):
                raise Broken(f"metrics.jsonl lacks {sorted(missing - self.holes)[:5]}")
            if len(set(steps)) != len(steps) or steps != sorted(steps):
                raise Broken("metrics.jsonl has steps twice or out of order")


def leaves(tree: dict) -> list[np.ndarray]:
    return [
        leaf
        for value in tree.values()
        for leaf in (leaves(value) if isinstance(value, dict) else [value])
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="what to do, in this order, and no more")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak, begun, failure = Soak(folder, options.seed), time.monotonic(), None
    try:
        if options.only:
            for name in options.only:
                soak.rng.seed(f"{options.seed} {name}")
                soak.counts[name] += 1
                print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
                getattr(soak, f"do_{name}")()
                soak.check()
        while not options.only and time.monotonic() - begun < 60 * options.minutes:
            soak.round()
    except (Broken, Exception) as error:
        failure = f"{type(error).__name__}: {error}"
        print(f"Kept for a look: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    minutes = round((time.monotonic() - begun) / 60, 1)
    found = {"minutes": minutes, "seed": options.seed, "failure": failure}
    print(json.dumps(found | {"counts": dict(sorted(soak.counts.items()))}, indent=1))
    return 0 if failure is None else 1


if __name__ == "__main__":
    sys.exit(main())
