"""What a run keeps, on disks and in directories as they are."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm.checkpoints import policy_file, saving
from mjx_dm.checkpoints.manifest import SaveError
from mjx_dm.checkpoints.policy_file import Network, PolicyFile
from mjx_dm.config import replace
from mjx_dm.presets import PRESETS
from mjx_dm.runs import keeping, replay_copies
from mjx_dm.runs.keeping import Keeper, saved_of
from mjx_dm.runs.lock import owned
from mjx_dm.tasks import get_task
from mjx_dm.training import replay as ring
from mjx_dm.training.program import TrainState
from mjx_dm.training.worlds import make_worlds

TASK = get_task("InvertedPendulum-v5")
SPACES = TASK.spaces


class Worlds(NamedTuple):
    episode_step: jax.Array
    obs: jax.Array


def state(iteration, value=0.0, rows=4):
    """A run of two worlds, which has `rows` of replay."""
    replay = ring.init(16, 2, SPACES)
    for row in range(rows):
        one = jnp.full(2, float(row))
        replay = ring.add(replay, jnp.ones((2, 4)), one[:, None], one, one, jnp.ones(2, jnp.bool_))
    empty = TrainState(**dict.fromkeys(TrainState._fields))
    return empty._replace(
        learner={"weights": jnp.array([value])},
        env=Worlds(jnp.zeros(2, jnp.int32), jnp.zeros((2, 2))),
        replay=replay,
        iteration=jnp.asarray(iteration, jnp.int32),
    )


@pytest.fixture
def make_keeper(tmp_path):
    """A keeper of one directory, and what it said."""
    said: list[str] = []
    with owned(tmp_path, said.append) as owner:

        def make(**settings):
            given = {"num_envs": 2, "replay_size": 16, "random_steps": 4, "replay_minutes": None}
            config = replace(
                PRESETS["smoke"], engine="mujoco", run_dir=str(tmp_path), **(given | settings)
            )
            return Keeper(config, owner, said.append), said

        yield make


def fails(error):
    def save(*args, **kwargs):
        raise error

    return save


def test_a_checkpoint_that_cannot_be_written_is_told_once_and_tried_again(make_keeper, monkeypatch):
    keeper, said = make_keeper(checkpoint_minutes=30.0)
    keeper.start(0.0)
    with monkeypatch.context() as full:
        full.setattr(saving, "save", fails(SaveError("No space left.")))
        assert not keeper.save(state(1), 2, 1800.0)
        assert keeper.is_due(1860.0) and not keeper.is_due(1859.0), "a minute later"
        assert not keeper.save(state(2), 4, 1860.0)
        assert said == ["No space left. Training goes on, and it is tried again."]
        assert keeper.failed is not None
    assert keeper.save(state(3), 6, 1920.0)
    assert keeper.failed is None and not keeper.is_due(1980.0)
    assert said[1:] == ["Checkpoints are written again: that of 6 steps is there."]


def test_no_state_is_saved_that_is_not_finite_in_any_part(make_keeper, tmp_path):
    keeper, _ = make_keeper()
    sound = state(1)
    spoilt = sound._replace(env=sound.env._replace(obs=sound.env.obs.at[1, 1].set(jnp.inf)))
    with pytest.raises(FloatingPointError, match=r"first env\.obs"):
        keeper.save(spoilt, 2, 0.0)
    assert not (tmp_path / "checkpoints").exists()


def test_a_directory_that_was_moved_gets_nothing_written_in_its_old_place(make_keeper, tmp_path):
    keeper, said = make_keeper()
    (tmp_path / "lock.json").rename(tmp_path / "moved.json")
    assert not keeper.save(state(1), 2, 0.0) and "has been moved" in said[0]
    assert not (tmp_path / "checkpoints").exists()
    (tmp_path / "moved.json").rename(tmp_path / "lock.json")
    assert keeper.save(state(1), 2, 0.0)


def policy(env_steps):
    """One whose weights nobody asks for."""
    network = Network((8,), 1, "relu", False, True, -5.0, 0.0)
    of_task = (TASK.name, {}, TASK.version, SPACES, network)
    return PolicyFile(*of_task, "float32", True, env_steps, actor={}, normalizer={})


def test_the_checkpoint_of_the_best_policy_stays_and_can_be_gone_on_from(make_keeper, tmp_path):
    keeper, _ = make_keeper(keep_checkpoints=1)
    for iteration in range(1, 6):
        keeper.save(state(iteration, value=float(iteration)), 2 * iteration, 0.0)
        if iteration in (2, 3):  # the second is better than the first
            policy_file.write(tmp_path / "best", policy(2 * iteration))
    best, newest = sorted((tmp_path / "checkpoints").iterdir())
    assert (int(best.name), int(newest.name)) == (6, 10)
    newest.rename(tmp_path / newest.name)
    assert go_on(keeper).learner["weights"] == 3.0


def go_on(keeper):
    shapes = jax.eval_shape(lambda: state(0))
    return keeper.go_on(make_worlds(keeper.config, task=TASK), shapes, keeper.read(shapes))


def test_a_damaged_checkpoint_is_put_aside_for_the_one_before_it(make_keeper, tmp_path):
    keeper, said = make_keeper()
    for iteration in (1, 2):
        keeper.save(state(iteration, value=float(iteration)), 2 * iteration, 0.0)
    newest = tmp_path / "checkpoints" / f"{4:012d}"
    manifest = newest / "manifest.json"
    manifest.write_bytes(b"?" + manifest.read_bytes()[1:])
    resumed = go_on(keeper)
    assert int(resumed.iteration) == 1 and resumed.learner["weights"] == 1.0
    assert "damaged" in said[0] and "put aside" in said[0] and "Resumed at 2" in said[1]
    assert not newest.exists() and len(list(newest.parent.glob("damaged-*"))) == 1


@pytest.mark.parametrize(
    ("at", "told", "newest_counts"),
    [
        (8, "with its replay.", True),
        (6, "with the replay of 6.", False),
        (None, "with an empty replay: none was saved.", None),
        (100, "with an empty replay: none was saved.", None),
    ],
)
def test_a_killed_run_goes_on_with_the_replay_that_is_there(
    make_keeper, tmp_path, at, told, newest_counts
):
    """What the worlds do next follows the newest row of a replay of their own moment alone."""
    keeper, said = make_keeper()
    keeper.save(state(4), 8, 0.0)
    if at is not None:
        saving.save(tmp_path / "replay", at, state(0).replay)
    resumed = go_on(keeper)
    assert said[-1] == f"Resumed at 8 environment steps, {told}"
    assert int(resumed.replay.written) == (0 if newest_counts is None else 4)
    if newest_counts is not None:
        np.testing.assert_array_equal(
            resumed.replay.valid[:4, 0], [True, True, True, newest_counts]
        )


def test_copies_of_the_replay_are_written_while_training_goes_on(
    make_keeper, tmp_path, monkeypatch
):
    keeper, _ = make_keeper(replay_minutes=1e-9)
    assert keeper.is_due(0.0)
    keeper.save(state(4), 8, 0.0)
    keeper.finish(state(5), 10)
    assert saving.latest_step(tmp_path / "replay") == 10 == keeper.last_saved + 2
    assert not keeper.is_due(0.0), "the last one is no copy"


def test_copies_take_no_more_than_a_twentieth_of_the_time(make_keeper, monkeypatch):
    keeper, said = make_keeper(replay_minutes=1e-9)
    monkeypatch.setattr(saving, "save", lambda *args, **how: time.sleep(0.2))
    keeper.save(state(4), 8, 0.0)
    keeper._copies._writer.join()
    assert not keeper.is_due(0.0)
    assert keeper._copies._next - time.monotonic() > 3.0, "0.2 s of every 4"


@pytest.mark.parametrize(("lacks", "size"), [("memory", 1000), ("room on the disk", 2**40)])
def test_without_room_for_a_copy_there_is_none(make_keeper, monkeypatch, lacks, size, tmp_path):
    keeper, said = make_keeper(replay_minutes=1e-9)
    monkeypatch.setattr(replay_copies.host, "free_memory", lambda: size)
    if lacks != "memory":
        monkeypatch.setattr(
            replay_copies.shutil, "disk_usage", lambda path: type("", (), {"free": 10})
        )
    else:
        monkeypatch.setattr(replay_copies, "_SPARE", 1e9)
    for iteration in (4, 5):
        keeper.save(state(iteration), 2 * iteration, 0.0)
    assert said == [f"The replay is saved at the end alone: there is no {lacks} for a copy."]


def test_saved_is_all_but_the_replay():
    assert set(keeping.Saved._fields) == {
        *(set(TrainState._fields) - {"replay", "learn_from"}),
        "train_seconds",
    }
    assert saved_of(state(1), 2.5).train_seconds == 2.5
