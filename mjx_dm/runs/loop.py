"""The host loop: launches the program, logs, saves, evaluates, and watches for signals."""

import functools
import math
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mjx_dm import config as configs
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import Config, ConfigError
from mjx_dm.device import compiler_options
from mjx_dm.engines import choose_engine
from mjx_dm.envs.episodes import Worlds
from mjx_dm.files import write_json
from mjx_dm.runs import memory
from mjx_dm.runs import plots as plotting
from mjx_dm.runs.clock import WallClock
from mjx_dm.runs.metrics import METRICS, MetricsWriter, read_metrics
from mjx_dm.runs.progress import Progress
from mjx_dm.runs.scoring import Scores
from mjx_dm.runs.signals import stop_on_signal
from mjx_dm.tasks import loading
from mjx_dm.tasks.libraries import LibraryTask
from mjx_dm.tasks.physics import name_of
from mjx_dm.tasks.task import Task
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.training.program import TrainState
from mjx_dm.training.reflection import symmetry_of
from mjx_dm.training.replay import Replay
from mjx_dm.training.worlds import make_worlds, task_of
from mjx_dm.validation import new_directory, of_learner, validate

# Warp compiles its kernels when they are first launched, which takes a minute on a new machine.
COMPILE_AT_FIRST_LAUNCH = ("warp",)


class Saved(NamedTuple):
    """What a checkpoint holds: the run without its replay, which is saved once, at the end."""

    learner: Any
    normalizer: Any
    env: Any
    key: Any
    iteration: Any
    returns: Any
    train_seconds: Any


def train(config: Config) -> Path:
    """Runs `config` to its end, or to a signal; returns the run directory.

    The engine that was chosen is written to config.json in place of "auto". Raises ConfigError
    where the settings cannot run or the run directory is another run's, CheckpointError where a run
    cannot be resumed or saved.
    """
    validate(config)
    if not config.run.resume:
        new_directory(of_learner(config))
    task = task_of(config)
    symmetry_of(config, task)
    if isinstance(task, LibraryTask):
        config = configs.replace(config, engine="auto", physics="auto")
        return _Run(config, task, f"Simulated by {task.simulation}").go()
    name, reason = choose_engine(config.physics.engine)
    physics = name_of(task, config.physics.physics)
    config = configs.replace(config, engine=name, physics=physics)
    return _Run(config, task, f"Engine {name} ({reason}), physics {physics}").go()


class _Run:
    """`config` names the engine; `simulated` says what simulates, and why."""

    def __init__(self, config: Config, task: Task | LibraryTask, simulated: str):
        self.config, self.task, self.simulated = config, task, simulated
        self.directory = config.directory
        self.clock = WallClock()
        self.train_seconds = 0.0
        self.last_saved = -1
        self.has_replay = False
        self.told_of_quarantine = False

    def go(self) -> Path:
        c = self.config
        self.directory.mkdir(parents=True, exist_ok=True)
        with Progress(c.run.env_steps) as self.progress:
            say = self.progress.say
            env = make_worlds(c, task=self.task)
            say(
                f"{env.task.name}. {self.simulated}, {c.physics.num_envs} worlds, episodes of at "
                f"most {env.max_episode_steps} steps."
            )
            say(f"Run directory: {self.directory}")
            if edited := loading.changed(self.task, c.task.task):
                say(
                    f"{', '.join(edited)} changed since the run began, which goes on with its own "
                    f"copy in {self.directory / loading.FOLDER}: begin a new run to train the new."
                )
            init = jax.jit(lambda key: training.init(c, env, key))
            shapes = jax.eval_shape(init, jax.random.key(c.run.seed))
            # Before the compilation, so that a run that cannot go on says so at once.
            saved = self._read(shapes) if c.run.resume else None
            start = time.monotonic()
            program = jax.jit(training.make_chunk(c, env), donate_argnums=0).lower(shapes)
            chunk = program.compile(compiler_options())
            needed = memory.plan(shapes, chunk)
            say(f"Memory: {needed}.")
            memory.check(c, needed, memory.available())
            start_of = functools.partial(init, jax.random.key(c.run.seed))
            if c.physics.engine in COMPILE_AT_FIRST_LAUNCH:
                # On a state of its own, which goes again: the run's has not begun.
                jax.block_until_ready(chunk(start_of()))
            state = start_of() if saved is None else self._go_on(env, shapes, saved)
            jax.block_until_ready(state)
            seconds = time.monotonic() - start
            self.clock.spent("compilation and start", seconds)
            say(f"Compiled in {seconds:.0f} s.")
            # A resumed run goes on with what changed, and so does the next --resume.
            chosen = configs.to_json(configs.replace(c, resume=False))
            of_task = {"spaces": env.spaces._asdict(), "task_version": env.task.version}
            loading.keep(self.task, self.directory)
            write_json(self.directory / "config.json", chosen | of_task)
            resumed_at = _env_steps(c, state) if c.run.resume else False
            with (
                MetricsWriter(self.directory, resume=resumed_at) as self.writer,
                stop_on_signal(say) as stop,
            ):
                self.scores = Scores(c, env.task, self.writer, say, self.clock.seconds)
                self._loop(chunk, state, stop)
                plotting.plot_run(self.directory, env.task.name, c.task.max_episode_steps)
            if stop.is_set():
                say("Go on with --resume.")
        say(f"Wall-clock {self.clock}.")
        return self.directory

    def _loop(self, chunk: Any, state: TrainState, stop: threading.Event) -> None:
        c = self.config
        env_steps = _env_steps(c, state)
        next_eval = env_steps + c.run.eval_every if c.run.eval_every else math.inf
        saved_at = self.train_seconds
        while env_steps < c.run.env_steps and not stop.is_set() and not self._out_of_time():
            start = time.monotonic()
            state, metrics = chunk(state)
            values = {k: float(v) for k, v in jax.device_get(metrics).items()}
            seconds = time.monotonic() - start
            self.train_seconds += seconds
            self.clock.spent("training", seconds)
            env_steps = _env_steps(c, state)
            rate = c.run.chunk_iterations * c.physics.num_envs / seconds
            updates = int(state.learner.updates)
            self.writer.write(
                env_steps,
                values
                | {
                    "updates": updates,
                    "steps_per_second": rate,
                    "train_seconds": self.train_seconds,
                    "wall_seconds": self.clock.seconds(),
                },
            )
            self.progress.update(
                env_steps, rate, updates, values["episode_return"], values["episode_length"]
            )
            if values["quarantined"] and not self.told_of_quarantine:
                self.told_of_quarantine = True
                counts = (int(values[name]) for name in ("quarantined", "engine_failed"))
                self.progress.say(_about_quarantine(c.physics.engine, *counts))
            if not _all_finite(state.learner):
                raise FloatingPointError(
                    f"The learner's weights are not finite after {env_steps} environment steps; "
                    f"the checkpoints in {self.directory / 'checkpoints'} precede it: resume with "
                    "lower --actor-lr and --critic-lr in a new run."
                )
            # Whoever stops a run twice while episodes are played loses nothing.
            to_score = env_steps >= next_eval
            if to_score or self.train_seconds - saved_at >= 60 * c.run.checkpoint_minutes:
                self._save(state, env_steps)
                saved_at = self.train_seconds
            self.scores.collect()
            if to_score:
                with self.clock.on("evaluation"):
                    self.scores.score(state, env_steps, self.train_seconds)
                next_eval += c.run.eval_every
        self._save(state, env_steps)
        with self.clock.on("evaluation"):
            if not stop.is_set():
                self.scores.score(state, env_steps, self.train_seconds)
            self.scores.collect(wait=True)
        self.scores.say_best()
        if c.run.save_replay:
            self._save_replay(state.replay, env_steps)

    def _out_of_time(self) -> bool:
        minutes = self.config.run.minutes
        return minutes is not None and self.train_seconds >= 60 * minutes

    def _save(self, state: TrainState, env_steps: int) -> None:
        if env_steps == self.last_saved:
            return
        with self.clock.on("checkpoints"):
            checkpoint.save(
                self.directory / "checkpoints",
                env_steps,
                _saved(state, self.train_seconds),
                keep=self.config.run.keep_checkpoints,
            )
        self.last_saved = env_steps

    def _save_replay(self, replay: Replay, env_steps: int) -> None:
        gigabytes = sum(x.nbytes for x in replay) / 1e9
        self.progress.say(f"Saving the replay ({gigabytes:.1f} GB), for --resume.")
        with self.clock.on("checkpoints"):
            checkpoint.save(self.directory / "replay", env_steps, replay, keep=1)

    def _has_replay(self, step: int) -> bool:
        """Whether the replay was saved at `step`; raises ConfigError where it is damaged since."""
        directory = self.directory / "replay"
        if checkpoint.latest_step(directory) != step:
            return False
        try:
            checkpoint.verify(directory / f"{step:012d}")
        except CheckpointError as error:
            raise ConfigError(
                f"{str(error)[:-1]}; remove {directory} to go on with an empty replay."
            ) from error
        return True

    def _read(self, shapes: TrainState) -> Saved:
        """The newest checkpoint, if there is something left to do from there."""
        step, saved = checkpoint.restore(self.directory / "checkpoints", _saved(shapes, 0.0))
        if step >= self.config.run.env_steps:
            raise ConfigError(
                f"The run has reached {step} environment steps, and --env-steps asks for "
                f"{self.config.run.env_steps}; give more to go on."
            )
        self.train_seconds = float(saved.train_seconds)
        if self._out_of_time():
            raise ConfigError(
                f"The run has trained for {self.train_seconds / 60:.1f} minutes, and --minutes "
                f"asks for {self.config.run.minutes:g}; give more to go on."
            )
        self.last_saved = step
        self.has_replay = self._has_replay(step)
        try:
            self.clock.before = _wall_seconds(read_metrics(self.directory / METRICS), step)
        except FileNotFoundError:
            pass  # the curve begins anew
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return saved

    def _go_on(self, env: Worlds, shapes: TrainState, saved: Saved) -> TrainState:
        """`saved` with its replay, or with an empty one where none was saved."""
        c, step = self.config, self.last_saved
        if self.has_replay:
            replay = checkpoint.restore(self.directory / "replay", shapes.replay)[1]
        else:
            size, obs_dtype = c.replay.replay_size, c.replay.obs_dtype
            replay = ring.init(size, c.physics.num_envs, env.spaces, obs_dtype)
        self.progress.say(
            f"Resumed at {step:,} environment steps, "
            + ("with its replay." if self.has_replay else "with an empty replay: none was saved.")
        )
        # Under a shorter time limit the worlds would otherwise all reach it in the next step, and
        # together from then on.
        worlds = saved.env._replace(episode_step=saved.env.episode_step % env.max_episode_steps)
        return TrainState(
            learner=saved.learner,
            normalizer=saved.normalizer,
            env=worlds,
            replay=replay,
            key=saved.key,
            iteration=saved.iteration,
            learn_from=training.learn_from(c, saved.iteration, replay.written),
            returns=saved.returns,
        )


def _about_quarantine(engine: str, quarantined: int, failed: int) -> str:
    if failed and engine == "warp":
        cause = (
            f"in {failed} of them Warp ran out of room for contacts: raise warp_room of the task"
        )
    elif failed and engine == "mjx":
        cause = (
            f"in {failed} of them MJX had more contacts than it solves: raise mjx_contacts of "
            "the task"
        )
    elif failed:
        cause = f"in {failed} of them MuJoCo met a state that is not finite"
    else:
        cause = (
            "their state was not finite or moved faster than MAX_SPEED in mjx_dm/envs/episodes.py"
        )
    return (
        f"{quarantined} worlds were reset and their steps left out of the replay; {cause}. The "
        "counts are quarantined and engine_failed in metrics.jsonl."
    )


def _saved(state: TrainState, train_seconds: float) -> Saved:
    return Saved(
        state.learner,
        state.normalizer,
        state.env,
        state.key,
        state.iteration,
        state.returns,
        jnp.asarray(train_seconds, jnp.float32),
    )


def _wall_seconds(metrics: dict[str, list], step: int) -> float:
    """What the run had taken when it was last heard of at `step` or before."""
    seconds = metrics.get("wall_seconds", [math.nan] * len(metrics["step"]))
    known = zip(metrics["step"], seconds, strict=True)
    return max((s for at, s in known if at <= step and not math.isnan(s)), default=0.0)


def _env_steps(config: Config, state: TrainState) -> int:
    """Exact beyond 2^31: the device counts iterations, the host multiplies."""
    return int(state.iteration) * config.physics.num_envs


@jax.jit
def _finite(tree: Any) -> jax.Array:
    leaves = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def _all_finite(learner: Any) -> bool:
    return bool(_finite((learner.actor, learner.critic)))
