"""Claims about checkpoints, with real Orbax and real files."""

import asyncio
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore

from mjx_dm.checkpoints import manifest
from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.saving import CheckpointError


class Learner(NamedTuple):
    params: dict
    moments: tuple
    key: jax.Array


class Run(NamedTuple):
    learner: Learner
    ring: jax.Array
    contacts: jax.Array
    env_steps: np.ndarray


def make_run(fill: float = 1.0) -> Run:
    """Every kind of leaf a run has: half precision, a key, an array of no elements, a counter."""
    fill = float(fill)
    params = {"dense": {"kernel": jnp.full((3, 4), fill), "bias": jnp.zeros(4)}}
    learner = Learner(params, (jnp.full((3, 4), fill / 2), None, ()), jax.random.key(7))
    ring = jnp.arange(4000, dtype=jnp.bfloat16).reshape(10, 400)
    return Run(learner, ring, jnp.zeros((0, 3)), np.asarray(2**40, np.int64))


def raw(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for left, right in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(raw(left), raw(right))


def largest_file(folder: Path) -> Path:
    return max((x for x in (folder / "tree").rglob("*") if x.is_file()), key=os.path.getsize)


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_what_is_saved_comes_back_leaf_for_leaf(tmp_path):
    path = checkpoint.save(tmp_path, 120, make_run(3.0))
    assert path == tmp_path / "000000000120"
    step, run = checkpoint.restore(tmp_path, make_run(0.0))
    assert step == 120
    assert_same(run, make_run(3.0))
    assert isinstance(run.env_steps, np.ndarray)
    assert isinstance(run.ring, jax.Array)


def test_a_restored_state_traces_like_the_one_that_was_saved(tmp_path):
    traces = []

    @jax.jit
    def advance(ring):
        traces.append(None)
        return ring + 1

    run = make_run()
    advance(run.ring)
    checkpoint.save(tmp_path, 1, run)
    advance(checkpoint.restore(tmp_path, make_run(0.0))[1].ring)
    assert len(traces) == 1


def test_a_restored_state_may_be_donated(tmp_path):
    checkpoint.save(tmp_path, 1, make_run())
    _, run = checkpoint.restore(tmp_path, make_run(0.0))
    moved = jax.jit(lambda x: x.at[0].set(0), donate_argnums=0)(run.ring)
    assert run.ring.is_deleted()
    np.testing.assert_array_equal(raw(moved[1:]), raw(make_run().ring[1:]))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_typed_key_survives(tmp_path, impl):
    key = jax.random.split(jax.random.key(3, impl=impl), 5)
    checkpoint.save(tmp_path, 0, {"key": key})
    _, tree = checkpoint.restore(tmp_path, {"key": jnp.zeros_like(key)})
    assert jax.random.key_impl(tree["key"]) == jax.random.key_impl(key)
    np.testing.assert_array_equal(
        jax.random.uniform(tree["key"][2], (4,)), jax.random.uniform(key[2], (4,))
    )


def test_shapes_alone_serve_as_a_template(tmp_path):
    learner = make_run(2.0).learner
    checkpoint.save(tmp_path, 9, learner)
    assert_same(checkpoint.restore(tmp_path, jax.eval_shape(lambda: learner))[1], learner)


def test_without_a_template_named_tuples_come_back_as_dicts_of_numpy(tmp_path):
    checkpoint.save(tmp_path, 9, make_run(2.0))
    step, tree = checkpoint.restore_arrays(tmp_path)
    assert step == 9
    kernel = tree["learner"]["params"]["dense"]["kernel"]
    assert type(kernel) is np.ndarray
    np.testing.assert_array_equal(kernel, np.full((3, 4), 2.0))
    assert set(tree["learner"]["moments"]) == {"0"}
    assert tree["contacts"].shape == (0, 3)
    assert tree["learner"]["key"].dtype == np.uint32
    assert tree["env_steps"] == 2**40


def test_a_flipped_bit_is_refused_by_name(tmp_path):
    path = checkpoint.save(tmp_path, 5, make_run())
    file = largest_file(path)
    flip_a_bit(file)
    name = file.relative_to(path).as_posix()
    for read in (lambda: checkpoint.restore(tmp_path, make_run()), lambda: checkpoint.verify(path)):
        with pytest.raises(CheckpointError, match=name):
            read()


def test_a_flipped_bit_in_any_file_is_refused(tmp_path):
    path = checkpoint.save(tmp_path / "whole", 5, make_run())
    files = [x for x in path.rglob("*") if x.is_file() and x.stat().st_size]
    assert len(files) > 5
    for file in files:
        original = file.read_bytes()
        flip_a_bit(file)
        with pytest.raises(CheckpointError):
            checkpoint.restore_arrays(tmp_path / "whole")
        file.write_bytes(original)
    checkpoint.restore_arrays(tmp_path / "whole")


def test_a_missing_or_shortened_file_is_refused_by_name(tmp_path):
    path = checkpoint.save(tmp_path, 5, make_run())
    file = largest_file(path)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=f"{file.name} has {len(whole) - 1} bytes"):
        checkpoint.verify(path)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"{file.name} cannot be read"):
        checkpoint.verify(path)


def test_a_damaged_newest_names_the_intact_older_step(tmp_path):
    for step in (100, 200, 300):
        path = checkpoint.save(tmp_path, step, make_run(step))
    flip_a_bit(largest_file(path))
    flip_a_bit(largest_file(tmp_path / "000000000200"))
    with pytest.raises(CheckpointError, match="step 100 is intact: remove the damaged folder"):
        checkpoint.restore(tmp_path, make_run())
    shutil.rmtree(path)
    shutil.rmtree(tmp_path / "000000000200")
    step, run = checkpoint.restore(tmp_path, make_run())
    assert step == 100
    assert_same(run, make_run(100))


def test_a_damaged_only_checkpoint_says_that_none_is_intact(tmp_path):
    flip_a_bit(largest_file(checkpoint.save(tmp_path, 5, make_run())))
    with pytest.raises(CheckpointError, match="no older checkpoint is intact"):
        checkpoint.restore_arrays(tmp_path)


def test_an_empty_step_folder_is_not_the_latest(tmp_path):
    checkpoint.save(tmp_path, 100, make_run())
    (tmp_path / "000000000900").mkdir()
    assert checkpoint.latest_step(tmp_path) == 100
    assert checkpoint.restore(tmp_path, make_run())[0] == 100


def test_a_half_written_folder_is_not_the_latest(tmp_path):
    whole = checkpoint.save(tmp_path, 100, make_run())
    shutil.copytree(whole, tmp_path / "000000000900")
    (tmp_path / "000000000900" / "manifest.json").unlink()
    assert checkpoint.latest_step(tmp_path) == 100
    assert checkpoint.restore(tmp_path, make_run())[0] == 100


def test_an_older_step_is_restored_on_request(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, make_run(step))
    step, run = checkpoint.restore(tmp_path, make_run(), step=1)
    assert step == 1
    assert_same(run, make_run(1))
    with pytest.raises(CheckpointError, match="of step 3 .* it holds 1, 2"):
        checkpoint.restore(tmp_path, make_run(), step=3)


def test_no_checkpoint_at_all_is_one_sentence(tmp_path):
    assert checkpoint.latest_step(tmp_path / "absent") is None
    with pytest.raises(CheckpointError, match="no complete checkpoint in"):
        checkpoint.restore(tmp_path / "absent", make_run())


@pytest.mark.parametrize(
    ("template", "sentence"),
    [
        (
            {"w": jnp.zeros((2, 4)), "n": jnp.zeros(3)},
            r"Leaf w .* float32\[2, 3\].* float32\[2, 4\]",
        ),
        ({"w": jnp.zeros((2, 3), jnp.bfloat16), "n": jnp.zeros(3)}, r"Leaf w .* bfloat16\[2, 3\]"),
        (
            {"w": jax.random.split(jax.random.key(0), (2, 3)), "n": jnp.zeros(3)},
            r"key<fry>\[2, 3\]",
        ),
        ({"w": jnp.zeros((2, 3))}, r"Leaf n is float32\[3\] .* absent in this run"),
        (
            {"w": jnp.zeros((2, 3)), "n": jnp.zeros(3), "v": jnp.zeros(1)},
            r"Leaf v is absent in checkpoint .* float32\[1\] in this run",
        ),
    ],
)
def test_a_leaf_that_differs_from_the_template_is_named(tmp_path, template, sentence):
    checkpoint.save(tmp_path, 1, {"w": jnp.zeros((2, 3)), "n": jnp.zeros(3)})
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.restore(tmp_path, template)


@pytest.mark.parametrize(
    ("tree", "sentence"),
    [
        ({"name": "humanoid", "w": jnp.zeros(1)}, "Leaf name is"),
        ({"a.b": jnp.zeros(1), "a": {"b": jnp.zeros(1)}}, "Two leaves .* a.b"),
        ({"nothing": None}, "holds no numbers"),
    ],
)
def test_a_tree_that_cannot_come_back_is_not_saved(tmp_path, tree, sentence):
    with pytest.raises(CheckpointError, match=sentence):
        checkpoint.save(tmp_path, 1, tree)
    assert list(tmp_path.iterdir()) == []


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        checkpoint.save(tmp_path, step, make_run(), keep=2)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["000000000003", "000000000004"]


def test_pruning_spares_the_one_just_written_after_a_step_back(tmp_path):
    for step in (10, 20, 5):
        checkpoint.save(tmp_path, step, make_run(), keep=2)
    assert sorted(int(x.name) for x in tmp_path.iterdir()) == [5, 20]


def test_the_same_step_saved_again_replaces_the_first(tmp_path):
    for fill in (1.0, 2.0):
        checkpoint.save(tmp_path, 7, make_run(fill))
    assert [x.name for x in tmp_path.iterdir()] == ["000000000007"]
    assert_same(checkpoint.restore(tmp_path, make_run())[1], make_run(2.0))


def test_a_replacement_that_fails_gives_the_first_back(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 7, make_run(1.0))
    rename = Path.rename

    def refuse_the_new(source, target):
        if source.name.startswith(".saving-"):
            raise OSError("refused")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(CheckpointError, match="refused"):
        checkpoint.save(tmp_path, 7, make_run(2.0))
    assert [x.name for x in tmp_path.iterdir()] == ["000000000007"]
    assert_same(checkpoint.restore(tmp_path, make_run())[1], make_run(1.0))


def test_what_an_interrupted_save_left_is_cleared_or_given_back(tmp_path):
    path = checkpoint.save(tmp_path, 7, make_run(7))
    path.rename(tmp_path / ".replaced-000000000007")
    (tmp_path / ".saving-000000000008" / "tree").mkdir(parents=True)
    checkpoint.save(tmp_path, 8, make_run(8))
    assert sorted(x.name for x in tmp_path.iterdir()) == ["000000000007", "000000000008"]
    assert_same(checkpoint.restore(tmp_path, make_run(), step=7)[1], make_run(7))


def test_a_disk_that_takes_no_more_leaves_earlier_checkpoints_intact(tmp_path, caplog):
    checkpoint.save(tmp_path, 1, make_run(1))
    noise = {"x": np.random.default_rng(0).normal(size=(1000, 100))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(CheckpointError, match="earlier checkpoints are untouched"):
            checkpoint.save(tmp_path, 2, noise, keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caplog.text == ""
    assert [x.name for x in tmp_path.iterdir()] == ["000000000001"]
    assert_same(checkpoint.restore(tmp_path, make_run())[1], make_run(1))


def end_late():
    """As a save where one write fails and another ends once Orbax's event loop is closed."""
    promise, write = tensorstore.Promise.new()

    async def wait():
        await write

    async def fail():
        raise OSError("No space left.")

    async def save():
        await asyncio.gather(wait(), fail())

    loop = asyncio.new_event_loop()
    with pytest.raises(OSError, match="No space"):
        loop.run_until_complete(save())
    loop.close()
    promise.set_result(1)


def test_a_write_that_ends_after_a_failed_save_prints_nothing(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    end_late()
    assert len(told) == 1, "what TensorStore does"
    checkpoint.save(tmp_path, 1, {"x": np.ones(2)})
    end_late()
    assert len(told) == 1
    sys.unraisablehook(SimpleNamespace(object=None, exc_value=RuntimeError("Another.")))
    assert len(told) == 2


def test_a_place_that_cannot_hold_checkpoints_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoint.save(tmp_path / "file", 1, make_run())


def test_a_later_format_is_refused_by_number(tmp_path):
    path = checkpoint.save(tmp_path, 1, make_run())
    body = json.loads((path / "manifest.json").read_text())
    del body["sha256"]
    body["format"] = 99
    body["sha256"] = manifest.seal(body)
    (path / "manifest.json").write_text(json.dumps(body))
    with pytest.raises(CheckpointError, match="format 99"):
        checkpoint.verify(path)


def test_saving_and_restoring_say_nothing(tmp_path):
    """Even where the program logs at INFO; other users of Abseil's logger are still heard."""
    program = f"""
import logging
logging.basicConfig(level=logging.INFO)
logging.getLogger("absl").setLevel(logging.INFO)
import jax.numpy as jnp
from mjx_dm.checkpoints import saving as checkpoint
for _ in range(2):
    checkpoint.save({str(tmp_path)!r}, 1, {{"w": jnp.ones(3)}})
checkpoint.restore({str(tmp_path)!r}, {{"w": jnp.zeros(3)}})
logging.getLogger("absl").info("heard")
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    lines = [x for x in (done.stdout + done.stderr).splitlines() if "jax._src" not in x]
    assert lines == ["INFO:absl:heard"]
    assert not logging.getLogger("absl").filters


def test_a_checkpoint_does_not_name_the_folders_it_was_written_in(tmp_path):
    path = checkpoint.save(tmp_path / "somewhere", 1, {"a": np.zeros(3)})
    for file in path.rglob("*"):
        assert file.is_dir() or b"somewhere" not in file.read_bytes(), file
