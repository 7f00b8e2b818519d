"""mjx_dm.population: many learners in one program are what each would be alone."""

import itertools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_dm import population
from mjx_dm.engines import make_engine


@pytest.mark.parametrize("count", range(1, 9))
def test_no_setting_shares_its_column_with_another_or_with_a_pair(count):
    signs = 2 * np.array(population.design(count)) - 1
    assert len(signs) == 2 ** min(count, 4)
    for number in (1, 2, 3):  # main effects against the mean, each other, and pairs
        for columns in itertools.combinations(range(count), number):
            assert signs[:, columns].prod(1).sum() == 0


def test_a_pooled_step_is_every_learners_own():
    one, whole = (make_engine("mujoco", "fast", n) for n in (2, 6))
    pooled = population.Pooled(one, whole)
    rng = np.random.default_rng(0)
    qpos = jnp.asarray(rng.normal(0.1, 0.01, (3, 2, 24)), jnp.float32).at[..., 2].set(1.3)
    qvel = jnp.asarray(rng.normal(0.0, 0.1, (3, 2, 23)), jnp.float32)
    action = jnp.asarray(rng.uniform(-0.4, 0.4, (3, 2, 17)), jnp.float32)

    def run(engine, qpos, qvel, action):
        state, _ = engine.start(qpos, qvel)
        return engine.step(state, action)

    together = jax.vmap(lambda *x: run(pooled, *x))(qpos, qvel, action)
    for i in range(3):
        alone = run(one, qpos[i], qvel[i], action[i])
        for x, y in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
            np.testing.assert_array_equal(x, y[i])


@pytest.mark.parametrize(
    ("vary", "complaint"),
    [
        ("num_proposals=4,8", "num_proposals=4,8 is not understood"),
        ("polyak=0.1", "polyak=0.1 is not understood"),
        ("polyak=0.1,x", "polyak=0.1,x is not understood"),
        ("polyak=0.1,0.1", "polyak=0.1,0.1 is not understood"),
        ("polyak=0.1,2", "--polyak 2.0 must lie"),
    ],
)
def test_bad_input_gets_a_sentence(vary, complaint, tmp_path, capsys):
    assert population.main(["--out", str(tmp_path / "o.json"), "--vary", vary]) == 2
    assert complaint in capsys.readouterr().err


def test_learners_are_trained_and_scored(tmp_path):
    smoke = "--num-envs 2 --random-steps 8 --replay-size 64 --chunk-iterations 4 --batch-size 8"
    small = "--actor-batch-size 4 --actor-widths 8 --critic-widths 8 --updates-per-step 1"
    out = tmp_path / "out.json"
    arguments = ["--out", str(out), "--minutes", "1e-6", "--mirror"]
    arguments += ["--vary", "actor_lr=0.01,0.0001", "log_std_min=-5,-3"]
    arguments += ["--engine", "mujoco", "--round-env-steps", "16", *smoke.split(), *small.split()]
    arguments += ["--max-episode-steps", "3"]
    # By itself: the types that tests check would refuse a traced value where a float is declared.
    done = subprocess.run(
        [sys.executable, "-m", "mjx_dm.population", *arguments],
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    [found] = json.loads(out.read_text())["rounds"]
    assert found["env_steps"] == 16 and found["updates"] > 0
    # Trained under a limit of 3 steps, scored over whole episodes.
    assert all(3 < x <= 1000 for x in found["length"]) and len(found["return"]) == 4
    assert "actor_lr 0.01 -> 0.0001" in done.stdout


def test_the_summary_tells_effects_from_noise(capsys):
    """Returns made of two known effects and none of the others."""
    names = ["actor_lr", "polyak", "discount", "std_target", "critic_lr"]
    rows = [dict(zip(names, map(float, row), strict=True)) for row in population.design(5)]
    returns = [1000.0 + 300.0 * row["polyak"] - 50.0 * row["critic_lr"] for row in rows]
    population.summary({"learners": rows, "rounds": [{"return": [0.0] * 16}, {"return": returns}]})
    told = capsys.readouterr().out.splitlines()[-5:]
    changes = [line.split(": ")[1].split(" ")[0] for line in told]
    assert [float(x) for x in changes] == [0.0, 300.0, 0.0, 0.0, -50.0]
    assert all("(standard error 0)" in line for line in told)
