"""The host loop: launches the program, logs, saves, evaluates, and watches for signals."""

import dataclasses
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
from mjx_dm.engines import choose_engine, make_engine
from mjx_dm.envs import batch as envs
from mjx_dm.files import write_json
from mjx_dm.learner import products
from mjx_dm.runs import memory
from mjx_dm.runs import plots as plotting
from mjx_dm.runs.metrics import METRICS, MetricsWriter, read_metrics
from mjx_dm.runs.progress import Progress
from mjx_dm.runs.scoring import Scores
from mjx_dm.runs.signals import stop_on_signal
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.training.program import TrainState
from mjx_dm.training.replay import Replay


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

    The engine that was chosen is written to config.json in place of "auto". Raises
    CheckpointError where a run cannot be resumed or saved.
    """
    name, reason = choose_engine(config.engine)
    return _Run(config, name, reason).go()


class _Run:
    def __init__(self, config: Config, engine: str, reason: str):
        self.config, self.engine, self.reason = config, engine, reason
        self.directory = config.directory
        self.train_seconds = 0.0
        self.last_saved = -1
        self.has_replay = False
        self.told_of_quarantine = False

    def go(self) -> Path:
        c = self.config
        self.directory.mkdir(parents=True, exist_ok=True)
        with Progress(c.env_steps) as self.progress:
            say = self.progress.say
            say(
                f"Engine {self.engine} ({self.reason}), physics {c.physics}, {c.num_envs} worlds, "
                f"episodes of at most {c.max_episode_steps} steps."
            )
            say(f"Run directory: {self.directory}")
            engine = make_engine(self.engine, c.physics, c.num_envs)
            env = envs.HumanoidEnv(engine, c.num_envs, max_episode_steps=c.max_episode_steps)
            init = jax.jit(lambda key: training.init(c, env, key))
            shapes = jax.eval_shape(init, jax.random.key(c.seed))
            # Before the compilation, so that a run that cannot go on says so at once.
            saved = self._read(shapes) if c.resume else None
            start = time.monotonic()
            program = jax.jit(training.make_chunk(c, env), donate_argnums=0).lower(shapes)
            chunk = program.compile(products.compiler_options(c.matmul_precision))
            say(f"Compiled in {time.monotonic() - start:.0f} s.")
            needed = memory.plan(shapes, chunk)
            say(f"Memory: {needed}.")
            memory.check(c, needed, memory.available())
            state = init(jax.random.key(c.seed)) if saved is None else self._go_on(shapes, saved)
            # A resumed run goes on with what changed, and so does the next --resume.
            chosen = dataclasses.replace(c, engine=self.engine, resume=False)
            write_json(self.directory / "config.json", configs.to_json(chosen))
            resumed_at = _env_steps(c, state) if c.resume else False
            with (
                MetricsWriter(self.directory, resume=resumed_at) as self.writer,
                stop_on_signal(say) as stop,
            ):
                self.scores = Scores(c, self.writer, say)
                self._loop(chunk, state, stop)
                plotting.plot_run(self.directory, c.max_episode_steps)
            if stop.is_set():
                say("Go on with --resume.")
        return self.directory

    def _loop(self, chunk: Any, state: TrainState, stop: threading.Event) -> None:
        c = self.config
        env_steps = _env_steps(c, state)
        next_eval = env_steps + c.eval_every if c.eval_every else math.inf
        saved_at = self.train_seconds
        while env_steps < c.env_steps and not stop.is_set() and not self._out_of_time():
            start = time.monotonic()
            state, metrics = chunk(state)
            values = {k: float(v) for k, v in jax.device_get(metrics).items()}
            seconds = time.monotonic() - start
            self.train_seconds += seconds
            env_steps = _env_steps(c, state)
            rate = c.chunk_iterations * c.num_envs / seconds
            updates = int(state.learner.updates)
            self.writer.write(
                env_steps,
                values
                | {
                    "updates": updates,
                    "steps_per_second": rate,
                    "train_seconds": self.train_seconds,
                },
            )
            self.progress.update(
                env_steps, rate, updates, values["episode_return"], values["episode_length"]
            )
            if values["quarantined"] and not self.told_of_quarantine:
                self.told_of_quarantine = True
                counts = (int(values[name]) for name in ("quarantined", "engine_failed"))
                self.progress.say(_about_quarantine(self.engine, *counts))
            if not _all_finite(state.learner):
                raise FloatingPointError(
                    f"The learner's weights are not finite after {env_steps} environment steps; "
                    f"the checkpoints in {self.directory / 'checkpoints'} precede it: resume with "
                    "lower --actor-lr and --critic-lr in a new run."
                )
            # Whoever stops a run twice while episodes are played loses nothing.
            to_score = env_steps >= next_eval
            if to_score or self.train_seconds - saved_at >= 60 * c.checkpoint_minutes:
                self._save(state, env_steps)
                saved_at = self.train_seconds
            self.scores.collect()
            if to_score:
                self.scores.score(state, env_steps, self.train_seconds)
                next_eval += c.eval_every
        self._save(state, env_steps)
        if not stop.is_set():
            self.scores.score(state, env_steps, self.train_seconds)
        self.scores.collect(wait=True)
        self.scores.say_best()
        if c.save_replay:
            self._save_replay(state.replay, env_steps)

    def _out_of_time(self) -> bool:
        return self.config.minutes is not None and self.train_seconds >= 60 * self.config.minutes

    def _save(self, state: TrainState, env_steps: int) -> None:
        if env_steps == self.last_saved:
            return
        checkpoint.save(
            self.directory / "checkpoints",
            env_steps,
            _saved(state, self.train_seconds),
            keep=self.config.keep_checkpoints,
        )
        self.last_saved = env_steps

    def _save_replay(self, replay: Replay, env_steps: int) -> None:
        gigabytes = sum(x.nbytes for x in replay) / 1e9
        self.progress.say(f"Saving the replay ({gigabytes:.1f} GB), for --resume.")
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
        if step >= self.config.env_steps:
            raise ConfigError(
                f"The run has reached {step} environment steps, and --env-steps asks for "
                f"{self.config.env_steps}; give more to go on."
            )
        self.train_seconds = float(saved.train_seconds)
        if self._out_of_time():
            raise ConfigError(
                f"The run has trained for {self.train_seconds / 60:.1f} minutes, and --minutes "
                f"asks for {self.config.minutes:g}; give more to go on."
            )
        self.last_saved = step
        self.has_replay = self._has_replay(step)
        try:
            read_metrics(self.directory / METRICS)
        except FileNotFoundError:
            pass  # the curve begins anew
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return saved

    def _go_on(self, shapes: TrainState, saved: Saved) -> TrainState:
        """`saved` with its replay, or with an empty one where none was saved."""
        c, step = self.config, self.last_saved
        if self.has_replay:
            replay = checkpoint.restore(self.directory / "replay", shapes.replay)[1]
        else:
            replay = ring.init(c.replay_size, c.num_envs, c.learner.obs_dtype)
        self.progress.say(
            f"Resumed at {step:,} environment steps, "
            + ("with its replay." if self.has_replay else "with an empty replay: none was saved.")
        )
        # Under a shorter time limit the worlds would otherwise all reach it in the next step, and
        # together from then on.
        env = saved.env._replace(episode_step=saved.env.episode_step % c.max_episode_steps)
        return TrainState(
            learner=saved.learner,
            normalizer=saved.normalizer,
            env=env,
            replay=replay,
            key=saved.key,
            iteration=saved.iteration,
            learn_from=training.learn_from(c, saved.iteration, replay.written),
            returns=saved.returns,
        )


def _about_quarantine(engine: str, quarantined: int, failed: int) -> str:
    if failed and engine == "warp":
        cause = (
            f"in {failed} of them Warp ran out of room for contacts: raise WARP_CONTACTS_PER_WORLD "
            "or WARP_ROWS_PER_WORLD in mjx_dm/engines/mjx.py"
        )
    elif failed and engine == "mjx":
        cause = (
            f"in {failed} of them MJX had more contacts than it solves: raise MJX_CONTACTS in "
            "mjx_dm/tasks/humanoid.py"
        )
    elif failed:
        cause = f"in {failed} of them MuJoCo met a state that is not finite"
    else:
        cause = "their state was not finite or moved faster than MAX_SPEED in mjx_dm/envs/batch.py"
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


def _env_steps(config: Config, state: TrainState) -> int:
    """Exact beyond 2^31: the device counts iterations, the host multiplies."""
    return int(state.iteration) * config.num_envs


@jax.jit
def _finite(tree: Any) -> jax.Array:
    leaves = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def _all_finite(learner: Any) -> bool:
    return bool(_finite((learner.actor, learner.critic)))
