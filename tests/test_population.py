"""mjx_dm.population: many learners in one program are what each would be alone."""

import collections
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
from mjx_dm.config import replace, to_json
from mjx_dm.engines import make_engine
from mjx_dm.learner import networks
from mjx_dm.presets import PRESETS
from mjx_dm.tasks import get_task
from mjx_dm.training import normalisation

HUMANOID = get_task("Humanoid-v4")
SPACES = HUMANOID.spaces


@pytest.mark.parametrize("count", range(1, 9))
def test_no_setting_shares_its_column_with_another_or_with_a_pair(count):
    signs = 2 * np.array(population.design(count)) - 1
    assert len(signs) == 2 ** min(count, 4)
    for number in (1, 2, 3):  # main effects against the mean, each other, and pairs
        for columns in itertools.combinations(range(count), number):
            assert signs[:, columns].prod(1).sum() == 0


def test_a_pooled_step_is_every_learners_own():
    one, whole = (make_engine(HUMANOID, "mujoco", "fast", n) for n in (2, 6))
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
    ("arguments", "complaint"),
    [
        ("--vary num_proposals=4,8", "num_proposals=4,8 is not understood"),
        ("--vary polyak=0.1", "polyak=0.1 is not understood"),
        ("--vary polyak=0.1,x", "polyak=0.1,x is not understood"),
        ("--vary polyak=0.1,0.1", "polyak=0.1,0.1 is not understood"),
        ("--vary polyak=0.1,2", "--polyak 2.0 must lie"),
        ("--learner sac --vary ess_target=0.3,0.6", "--ess-target is read by density_matching"),
        ("--vary polyak=0.1,0.2 polyak=0.3,0.4", "polyak=0.3,0.4 gives polyak a second time"),
        ("--preset tpu", "--preset tpu is unknown"),
        ("--eval-every 7", "--eval-every is for train.py"),
        ("--preset smoke --resume", "--resume is for train.py"),
        ("--no-save-replay", "--save-replay is for train.py"),
        ("--out .", "--out . is a folder"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, complaint, tmp_path, capsys):
    assert population.main(["--out", str(tmp_path / "o.json"), *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1


class Program:
    """A function in place of a compiled one."""

    def __init__(self, call):
        self.call = call

    def lower(self, *arguments):
        return self

    def compile(self, options):
        return self.call


Learner = collections.namedtuple("Learner", "updates")
State = collections.namedtuple("State", "learner normalizer iteration")


@pytest.fixture
def keys(monkeypatch):
    """Learners that do nothing in place of those that learn: the keys that start and score them."""
    given = {}

    def init(keys):
        given["start"] = keys
        zeros = jnp.zeros(len(keys), jnp.int32)
        return State(Learner(zeros), (), zeros)

    def advance(state):
        return state._replace(iteration=state.iteration + 16), {}

    def score(learner, normalizer, keys):
        given["score"] = keys
        return np.zeros((len(keys), 1)), np.ones((len(keys), 1))

    programs = init, Program(advance), Program(score)
    monkeypatch.setattr(population, "programs", lambda *arguments: programs)
    return given


SMOKE = ("--preset", "smoke", "--engine", "mujoco", "--vary", "polyak=0.1,0.2")


def test_the_preset_chooses_the_defaults(keys, tmp_path):
    out = tmp_path / "out.json"
    assert population.main(["--out", str(out), *SMOKE, "--seed", "3"]) == 0
    found = json.loads(out.read_text())
    chosen = replace(PRESETS["smoke"], engine="mujoco", seed=3)
    assert found["settings"] == json.loads(json.dumps(to_json(chosen)))
    # No longer than the run itself.
    assert [row["env_steps"] for row in found["rounds"]] == [chosen.run.env_steps]


def test_scores_start_from_draws_that_nothing_else_is_made_of(keys, tmp_path):
    def told(keys):
        return {tuple(np.ravel(jax.random.key_data(key))) for key in keys}

    assert population.main(["--out", str(tmp_path / "out.json"), *SMOKE]) == 0
    of_start = told(keys["start"]).union(*(told(jax.random.split(k, 3)) for k in keys["start"]))
    of_score = told(keys["score"]) | told(jax.random.fold_in(k, 0) for k in keys["score"])
    assert len(of_start) == 8 and len(of_score) == 4 and not of_start & of_score


World = collections.namedtuple("World", "obs reward terminated truncated")


class Worlds:
    """Three worlds in place of BatchEnv: step t is worth 2^t; the first falls in its second
    step, the next meets a time limit in its fourth, and both go on."""

    spaces, max_episode_steps = SPACES, 5

    def __init__(self, task, engine, num_envs):
        pass

    def reset(self, key):
        no = jnp.zeros(3, bool)
        return World(jnp.zeros((3, SPACES.obs_size)), jnp.full(3, 0.5), no, no)

    def step(self, state, action):
        reward, ends = 2 * state.reward, jnp.array([2.0, 8.0, jnp.inf])
        at_end = reward == ends
        falls = jnp.array([True, False, False])
        return World(state.obs, reward, at_end & falls, at_end & ~falls)


def test_a_score_is_the_first_episode_alone(monkeypatch):
    monkeypatch.setattr(population.envs, "BatchEnv", Worlds)
    config = replace(PRESETS["smoke"], num_envs=3)
    _, _, score = population.programs(config, {}, make_engine(HUMANOID, "mujoco", "fast", 3))
    network = networks.mixture_network(config, SPACES)
    actor = network.init(jax.random.key(0), jnp.zeros((1, SPACES.obs_size)))
    learner = collections.namedtuple("Learner", "average_actor")(actor)
    one = jax.tree.map(lambda x: x[None], (learner, normalisation.init((SPACES.obs_size,))))
    returns, lengths = score(*one, jax.random.split(jax.random.key(0), 1))
    assert returns.tolist() == [[1 + 2, 1 + 2 + 4 + 8, 1 + 2 + 4 + 8 + 16]]
    assert lengths.tolist() == [[2, 4, 5]]


@pytest.mark.slow
def test_learners_are_trained_and_scored(tmp_path):
    smoke = "--num-envs 2 --random-steps 8 --replay-size 64 --chunk-iterations 4 --batch-size 8"
    small = "--actor-batch-size 4 --actor-widths 8 --critic-widths 8 --updates-per-step 1"
    out = tmp_path / "out.json"
    arguments = ["--out", str(out), "--minutes", "1e-6", "--mirror", "on"]
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
