"""What a run keeps in its directory to go on from: checkpoints, and the replay."""

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.manifest import CheckpointError, SaveError, complete
from mjx_dm.config import Config, ConfigError
from mjx_dm.envs.episodes import Worlds
from mjx_dm.runs import health
from mjx_dm.runs.lock import Lost, Owner
from mjx_dm.runs.replay_copies import ReplayCopies
from mjx_dm.training import program as training
from mjx_dm.training import replay as ring
from mjx_dm.training.program import TrainState
from mjx_dm.training.replay import Replay

# After a checkpoint that could not be written, the next is tried so soon.
RETRY_SECONDS = 60.0


class Saved(NamedTuple):
    """What a checkpoint holds: the run without its replay, which is saved less often."""

    learner: Any
    normalizer: Any
    env: Any
    key: Any
    iteration: Any
    returns: Any
    train_seconds: Any


def saved_of(state: TrainState, train_seconds: float) -> Saved:
    """`state` as a checkpoint holds it."""
    return Saved(
        state.learner,
        state.normalizer,
        state.env,
        state.key,
        state.iteration,
        state.returns,
        jnp.asarray(train_seconds, jnp.float32),
    )


class Keeper:
    """Saves a run, and finds what is saved of it.

    A fault of the disk does not end the run: it is told, and the next checkpoint tries again.
    `failed` is the newest fault, None once a checkpoint is written after it.
    """

    def __init__(self, config: Config, owner: Owner | None, say: Callable[[str], None]) -> None:
        self.config, self.say = config, say
        # Without an owner nothing is saved, and can be gone on from all the same.
        self.check = owner.check if owner else _no_owner
        self.checkpoints = config.directory / "checkpoints"
        self.replays = config.directory / "replay"
        self.last_saved = -1
        self.failed: SaveError | None = None
        self.replay_step: int | None = None
        minutes = config.run.replay_minutes if config.run.save_replay else None
        self._copies = ReplayCopies(self.replays, minutes, self.check, say)
        self._next = math.inf

    def start(self, train_seconds: float) -> None:
        """Counts checkpoint_minutes from here."""
        self._next = train_seconds + 60 * self.config.run.checkpoint_minutes

    def is_due(self, train_seconds: float) -> bool:
        """Whether it is time for a checkpoint."""
        return train_seconds >= self._next or self.copy_is_due()

    def copy_is_due(self) -> bool:
        """Whether the replay is to be saved with it."""
        return self._copies.is_due()

    def save(self, state: TrainState, env_steps: int, train_seconds: float) -> bool:
        """Writes a checkpoint, and now and then the replay beside it; whether it is written.

        The newest `keep_checkpoints` stay, and that of the policy in best/. Raises
        FloatingPointError where a number of it is not finite, Lost where the run directory has
        another owner.
        """
        if env_steps == self.last_saved:
            return True
        saved = saved_of(state, train_seconds)
        if not health.all_finite(saved):
            raise FloatingPointError(health.report(self.config.directory, env_steps, saved))
        interval = 60 * self.config.run.checkpoint_minutes
        try:
            keep = self.config.run.keep_checkpoints
            self._write(self.checkpoints, env_steps, saved, keep, self._best_step())
        except Lost:
            raise
        except SaveError as error:
            if self.failed is None:
                self.say(f"{error} Training goes on, and it is tried again.")
            self.failed = error
            self._next = train_seconds + min(interval, RETRY_SECONDS)
            return False
        if self.failed is not None:
            self.say(f"Checkpoints are written again: that of {env_steps:,} steps is there.")
        self.failed, self.last_saved = None, env_steps
        self._next = train_seconds + interval
        if state.replay is not None:  # not gathered from the hosts
            self._copies.save_if_due(state.replay, env_steps)
        return True

    def close(self) -> None:
        """Waits for the copy of the replay that is being written; none follows it."""
        self._copies.close()

    def finish(self, state: TrainState, env_steps: int) -> None:
        """Saves the replay at the end of a run, where the settings ask for it."""
        self.close()
        if not self.config.run.save_replay:
            return
        gigabytes = sum(x.nbytes for x in state.replay) / 1e9
        self.say(f"Saving the replay ({gigabytes:.1f} GB), for --resume.")
        try:
            self._write(self.replays, env_steps, state.replay, 1)
        except Lost:
            raise
        except SaveError as error:
            self.failed = self.failed or error

    def _write(
        self, directory: Path, env_steps: int, tree: Any, keep: int, best: int | None = None
    ) -> None:
        self.check()
        checkpoint.save(directory, env_steps, tree, keep=keep, best=best)

    def _best_step(self) -> int | None:
        """Of the policy that has scored best, None where none has."""
        path = self.config.directory / "best" / policy_file.NAME
        with contextlib.suppress(CheckpointError):
            return int(policy_file.describe(path)["env_steps"])
        return None

    # Going on -------------------------------------------------------------------------------------

    def read(self, shapes: TrainState) -> Saved:
        """The newest intact checkpoint; a damaged one is put aside, and told.

        Raises CheckpointError where there is none, ConfigError where the replay is damaged.
        """
        template = saved_of(shapes, 0.0)
        step = self._newest_intact()
        self.last_saved, saved = checkpoint.restore(self.checkpoints, template, step=step)
        self.replay_step = self._step_of_replay(self.last_saved)
        return saved

    def go_on(self, env: Worlds, shapes: TrainState, saved: Saved) -> TrainState:
        """`saved` with the replay that is there, or with an empty one where none is."""
        c, step = self.config, self.last_saved
        if self.replay_step is None:
            replay = ring.empty(shapes.replay)
            told = "with an empty replay: none was saved."
        else:
            replay = checkpoint.restore(self.replays, shapes.replay)[1]
            told = "with its replay."
            if self.replay_step != step:
                replay = _closed(replay)
                told = f"with the replay of {self.replay_step:,}."
        self.say(f"Resumed at {step:,} environment steps, {told}")
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

    def _newest_intact(self) -> int | None:
        """None where there is none, for `restore` to say what is wrong with the newest."""
        damaged: list[tuple[Path, CheckpointError]] = []
        for step, folder in sorted(complete(self.checkpoints).items(), reverse=True):
            try:
                checkpoint.verify(folder)
            except CheckpointError as error:
                damaged.append((folder, error))
                continue
            for bad, why in damaged:
                self.say(f"{why} It is put aside, and the run goes on from an older one.")
                with contextlib.suppress(OSError):
                    bad.rename(bad.with_name(f"damaged-{bad.name}-{time.time_ns()}"))
            return step
        return None

    def _step_of_replay(self, step: int) -> int | None:
        """That of the replay to go on with; one that the ring would not hold any more is none."""
        found = checkpoint.latest_step(self.replays)
        if found is None or abs(found - step) >= self.config.replay.replay_size:
            return None
        try:
            checkpoint.verify(complete(self.replays)[found])
        except CheckpointError as error:
            raise ConfigError(
                f"{str(error)[:-1]}; remove {self.replays} to go on with an empty replay."
            ) from error
        return found


def _no_owner() -> None:
    raise SaveError("Only the first process of a run writes its directory.")


def _closed(replay: Replay) -> Replay:
    """A replay of another moment than the worlds: what they do next does not follow its newest row,
    which must not be learned from."""
    newest = (replay.written - 1) % replay.valid.shape[0]
    return replay._replace(valid=replay.valid.at[newest].set(False))
