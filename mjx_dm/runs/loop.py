"""The host loop: launches the program, logs, saves, scores, and stops when told."""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from jax.sharding import Mesh
from rich.console import Console

from mjx_dm import config as configs
from mjx_dm import device
from mjx_dm.checkpoints.manifest import SaveError
from mjx_dm.config import Config
from mjx_dm.envs.episodes import Worlds
from mjx_dm.files import write_json
from mjx_dm.learner import make_learner
from mjx_dm.report.live import LivePage
from mjx_dm.runs import health
from mjx_dm.runs import hosts as processes
from mjx_dm.runs.clock import WallClock
from mjx_dm.runs.hosts import Hosts
from mjx_dm.runs.keeping import Keeper
from mjx_dm.runs.launching import Launch, Launcher
from mjx_dm.runs.lock import Owner, owned
from mjx_dm.runs.metrics import MetricsWriter
from mjx_dm.runs.progress import Progress
from mjx_dm.runs.scoring import Scores
from mjx_dm.runs.signals import CLOSED_PIPE, Stop, stop_on_signal
from mjx_dm.runs.starting import Start, check_directory, out_of_time, simulation
from mjx_dm.tasks import LibraryTask, loading
from mjx_dm.tasks.task import Task
from mjx_dm.training import mesh as meshes
from mjx_dm.training import program as training
from mjx_dm.training.program import TrainState
from mjx_dm.training.reflection import symmetry_of
from mjx_dm.training.worlds import make_worlds, task_of
from mjx_dm.validation import validate


class Outcome(NamedTuple):
    """How a run ended: `stopped_by` is the number of the signal that stopped it, None where it came
    to its own end."""

    directory: Path
    stopped_by: int | None


def train(config: Config) -> Path:
    """`run`, and the run directory alone."""
    return run(config).directory


def run(config: Config) -> Outcome:
    """Runs `config` to its end, or to a signal.

    Can be called from any thread, in a notebook, and several times in a process; signals are heard
    in the main thread alone; one of several processes runs one run. The engine that was chosen is
    written to config.json in place of "auto". Raises ConfigError where the settings cannot run here
    or the run directory is another run's, CheckpointError where a run cannot be resumed, SaveError
    where its last state could not be saved or another of its processes is gone, FloatingPointError
    where its numbers are not finite any more.
    """
    validate(config)
    processes.find_each_other(config)
    device.check()
    hosts = Hosts(config)
    with hosts.watched():
        mesh = meshes.make_mesh(config)
        hosts.first(lambda: check_directory(config) if hosts.leads else None)
        task = task_of(config)
        symmetry_of(config, task)
        config, simulated = simulation(config, task)
        console = None if hosts.leads else Console(quiet=True)
        until = config.run.env_steps, 60 * (config.run.minutes or math.inf)
        with device.float32(), Progress(*until, console=console) as progress:
            if not hosts.leads:
                return _Run(config, task, progress, None, hosts, mesh).go(simulated)
            with owned(config.directory, progress.say) as owner:
                check_directory(config)  # now that nobody else writes there
                return _Run(config, task, progress, owner, hosts, mesh).go(simulated)


class _Run:
    """`config` names the engine. Only the process that leads owns the run directory."""

    def __init__(
        self,
        config: Config,
        task: Task | LibraryTask,
        progress: Progress,
        owner: Owner | None,
        hosts: Hosts,
        mesh: Mesh,
    ) -> None:
        self.config, self.task, self.progress = config, task, progress
        self.hosts, self.mesh = hosts, mesh
        self.directory, self.say = config.directory, progress.say
        self.clock = WallClock()
        self.keeper = Keeper(config, owner, self.say)
        self.train_seconds = 0.0
        self.notices = health.Notices(config, self.say)

    def go(self, simulated: str) -> Outcome:
        """`simulated` says what simulates, and why."""
        c, share = self.config, meshes.share(self.config, self.mesh.size)
        env = make_worlds(share, task=self.task)
        self.of_learner = make_learner(c, env.spaces).names
        self.say(
            f"{env.task.name}. {simulated}, {c.physics.num_envs} worlds, episodes of at most "
            f"{env.max_episode_steps} steps{self.hosts.in_words(self.mesh.size)}."
        )
        self.say(f"Run directory: {self.directory}")
        if edited := loading.changed(self.task, c.task.task):
            self.say(
                f"{', '.join(edited)} changed since the run began, which goes on with its own "
                f"copy in {self.directory / loading.FOLDER}: begin a new run to train the new."
            )
        with self.progress.phase("Compiling"):
            start = Start(c, self.hosts, self.mesh, self.keeper, self.clock, self.say)
            chunk, state, self.train_seconds = start.begin(env, share)
        with stop_on_signal(self.say) as stop, self._recorded(env):
            try:
                self._loop(chunk, state, stop)
            except Exception:  # not KeyboardInterrupt: who interrupts twice does not wait
                self.keeper.close()
                raise
        self.progress.finish()
        if self.hosts.leads:
            self._plot(env.task)
        self.hosts.end()
        if self.keeper.failed is not None:
            raise SaveError(f"The run's last state is not saved: {self.keeper.failed}")
        if stop.is_set():
            self.say("Go on with --resume.")
        self.say(f"Wall-clock {self.clock}.")
        return Outcome(self.directory, stop.number)

    @contextlib.contextmanager
    def _recorded(self, env: Worlds) -> Iterator[None]:
        """Writes the settings, and inside what a run leaves of its course: nothing but where this
        process leads."""
        c = self.config
        if not self.hosts.leads:
            yield
            return
        # A resumed run goes on with what changed, and so does the next --resume.
        chosen = configs.to_json(configs.replace(c, resume=False, **configs.OF_ONE_LAUNCH))
        of_task = {"spaces": env.spaces._asdict(), "task_version": env.task.version}
        loading.keep(self.task, self.directory)
        write_json(self.directory / "config.json", chosen | of_task)
        resumed_at = self.keeper.last_saved if c.run.resume else False
        with (
            MetricsWriter(self.directory, resumed_at, self.say, c) as self.writer,
            LivePage(self.directory, self.clock.split, self.say, resume=c.run.resume) as self.page,
            Scores(c, env.task, self.writer, self.say, self.clock.seconds) as self.scores,
        ):
            yield

    def _loop(self, chunk: Any, state: TrainState, stop: Stop) -> None:
        c, launcher = self.config, Launcher(self.config, chunk)
        # Exact however long it goes on; the device counts within an int32.
        env_steps = max(self.keeper.last_saved, 0)
        next_eval = env_steps + c.run.eval_every if c.run.eval_every else math.inf
        self.keeper.start(self.train_seconds)
        ahead: Launch | None = None
        while ahead or (env_steps < c.run.env_steps and not self._is_over(stop)):
            if ahead is None:
                start = time.monotonic()
                state, ahead = launcher(state)
            launch, ahead = ahead, None
            env_steps += c.run.chunk_iterations * c.physics.num_envs
            # Several processes agree on nothing while a launch is under way: its collectives and
            # those of the agreement could meet in another order elsewhere.
            told = None if launcher.overlaps else self._wait(launch, start)
            to_score = env_steps >= next_eval
            to_save = self.hosts.led(to_score or self.keeper.is_due(self.train_seconds))
            is_last = env_steps >= c.run.env_steps
            if launcher.overlaps and not (to_save or is_last or self._is_over(stop)):
                state, ahead = launcher(state)
            metrics, updates, finite, seconds = told or self._wait(launch, start)
            # Where the next launch is under way, it counts from the end of this one on.
            start = time.monotonic()
            self._record(env_steps, training.known(metrics, self.of_learner), updates, seconds)
            if not finite:
                raise FloatingPointError(health.report(self.directory, env_steps, state.learner))
            # Whoever stops a run twice while episodes are played loses nothing.
            if to_save:
                self._save(state, env_steps)
            if self.hosts.leads:
                self.scores.collect()
                if to_score:
                    with self.clock.on("evaluation"), self.progress.phase("Evaluating"):
                        self.scores.score(state, env_steps, self.train_seconds)
                self.page.refresh()
            next_eval += c.run.eval_every if to_score else 0
        self._save(state, env_steps)
        if self.hosts.leads:
            with self.clock.on("evaluation"), self.progress.phase("Evaluating"):
                if not stop.is_set():
                    self.scores.score(state, env_steps, self.train_seconds)
                self.scores.collect(wait=True)
            self.scores.say_best()
        with self.clock.on("checkpoints"), self.progress.phase("Saving"):
            kept = self.hosts.to_first(state) if c.run.save_replay else state
            if self.hosts.leads:
                self.keeper.finish(kept, env_steps)

    def _wait(self, launch: Launch, start: float) -> tuple[dict[str, float], int, bool, float]:
        """What a launch tells, and the seconds since `start`, which are counted as training."""
        told = launch.wait()
        seconds = time.monotonic() - start
        self.train_seconds += seconds
        self.clock.spent("training", seconds)
        return *told, seconds

    def _record(
        self, env_steps: int, values: dict[str, float], updates: int, seconds: float
    ) -> None:
        """A line of metrics.jsonl, and what a person sees."""
        if not self.hosts.leads:
            return
        physics = self.config.physics
        rate = self.config.run.chunk_iterations * physics.num_envs / seconds
        updates %= 2**32
        more = {
            "updates": updates,
            "steps_per_second": rate,
            "train_seconds": self.train_seconds,
            "wall_seconds": self.clock.seconds(),
        }
        self.writer.write(env_steps, values | more)
        self.progress.update(
            env_steps,
            rate,
            updates,
            values["episode_return"],
            values["episode_length"],
            self.train_seconds,
            self.scores.latest,
        )
        self.notices.tell(values)

    def _is_over(self, stop: Stop) -> bool:
        if self.progress.is_closed and not stop.is_set():
            stop.by(CLOSED_PIPE)
        is_late = self.hosts.leads and out_of_time(self.config, self.train_seconds)
        number, late = self.hosts.largest(stop.number or 0, is_late)
        if number and not stop.is_set():
            stop.by(number)
        return stop.is_set() or bool(late)

    def _save(self, state: TrainState, env_steps: int) -> None:
        with self.clock.on("checkpoints"), self.progress.phase("Saving"):
            if self.mesh.size > 1:
                self.hosts.check_replicas(state.learner, env_steps)
            copy = self.hosts.led(self.keeper.copy_is_due())
            without_replay = state._replace(replay=cast(Any, None))
            kept = self.hosts.to_first(state if copy else without_replay)
            if self.hosts.leads:
                self.keeper.save(kept, env_steps, self.train_seconds)

    def _plot(self, task: Task | LibraryTask) -> None:
        """No fault of drawing is one of the run."""
        try:
            from mjx_dm.runs import plots

            plots.plot_run(self.directory, task.name, self.config.task.max_episode_steps)
        except Exception as error:  # whatever matplotlib meets
            self.say(f"The plots could not be drawn ({type(error).__name__}: {error}).")
