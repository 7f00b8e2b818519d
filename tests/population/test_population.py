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

from mjx_dm.checkpoints import policy_file
from mjx_dm.checkpoints.policy import load_policy
from mjx_dm.config import replace, to_json
from mjx_dm.engines import make_engine
from mjx_dm.evaluation.evaluate import NoScore, evaluate
from mjx_dm.learner import networks
from mjx_dm.population import __main__ as command
from mjx_dm.population import judging
from mjx_dm.population.combinations import design
from mjx_dm.population.programs import Pooled
from mjx_dm.population.summary import summary
from mjx_dm.presets import PRESETS
from mjx_dm.tasks import get_task
from mjx_dm.training import normalisation

HUMANOID = get_task("Humanoid-v4")
SPACES = HUMANOID.spaces


@pytest.mark.parametrize("count", range(1, 9))
def test_no_setting_shares_its_column_with_another_or_with_a_pair(count):
    signs = 2 * np.array(design(count)) - 1
    assert len(signs) == 2 ** min(count, 4)
    for number in (1, 2, 3):  # main effects against the mean, each other, and pairs
        for columns in itertools.combinations(range(count), number):
            assert signs[:, columns].prod(1).sum() == 0


def test_a_pooled_step_is_every_learners_own():
    one, whole = (make_engine(HUMANOID, "mujoco", "fast", n) for n in (2, 6))
    pooled = Pooled(one, whole)
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
        ("", "--seeds 1 leaves no population"),
        ("--vary polyak=0.1,0.2 --seeds 0", "--seeds 0 leaves no population"),
        ("--seeds 2 --seed 4294967295", "--seed 4294967296 must be at least 0"),
        ("--preset tpu", "--preset tpu is unknown"),
        ("--eval-every 7", "--eval-every is for train.py"),
        ("--preset smoke --resume", "--resume is for train.py"),
        ("--no-save-replay", "--save-replay is for train.py"),
        ("--out .", "--out . is a folder"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, complaint, tmp_path, capsys):
    assert command.main(["--out", str(tmp_path / "o.json"), *arguments.split()]) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.count("\n") == 1


class Program:
    """A function in place of a compiled one."""

    out_info = None

    def __init__(self, call):
        self.call = call

    def lower(self, *arguments):
        return self

    def compile(self, options):
        return self.call


Learner = collections.namedtuple("Learner", "updates average_actor")
State = collections.namedtuple("State", "learner normalizer iteration")


@pytest.fixture
def keys(monkeypatch):
    """Learners that do nothing, with policies of fresh weights, in place of those that learn: the
    keys that start them."""
    given = {}

    def init(keys):
        given["start"] = keys
        network = networks.mixture_network(PRESETS["smoke"], SPACES)
        actor = jax.jit(jax.vmap(network.init, (0, None)))(keys, jnp.zeros((1, SPACES.obs_size)))
        zeros = jnp.zeros(len(keys), jnp.int32)
        many = [normalisation.init((SPACES.obs_size,))] * len(keys)
        normalizer = jax.tree.map(lambda *x: jnp.stack(x), *many)
        return State(Learner(zeros, actor), normalizer, zeros)

    def advance(state):
        return state._replace(iteration=state.iteration + 16), {}

    monkeypatch.setattr(command, "programs", lambda *args: (Program(init), Program(advance)))
    return given


SMOKE = ("--preset", "smoke", "--engine", "mujoco", "--max-episode-steps", "3")


def test_learners_have_the_seeds_of_runs_and_their_policies_are_kept(keys, tmp_path):
    out, kept = tmp_path / "out.json", tmp_path / "kept"
    arguments = ["--out", str(out), "--policies", str(kept), *SMOKE, "--seed", "3", "--seeds", "2"]
    assert command.main([*arguments, "--round-env-steps", "256"]) == 0
    found = json.loads(out.read_text())
    chosen = replace(PRESETS["smoke"], engine="mujoco", seed=3, max_episode_steps=3)
    assert found["settings"] == json.loads(json.dumps(to_json(chosen)))
    assert found["learners"] == [{"seed": 3}, {"seed": 4}]
    assert jax.random.key_data(keys["start"]).tolist() == [[0, 3], [0, 4]]
    # No longer than the run itself.
    assert [row["env_steps"] for row in found["rounds"]] == [256, 512]
    last = found["rounds"][-1]
    init = jax.jit(networks.mixture_network(PRESETS["smoke"], SPACES).init)
    for i in range(2):
        weights = policy_file.read(kept / f"learner_{i}" / policy_file.NAME).actor
        of_seed = init(jax.random.key(3 + i), jnp.zeros((1, SPACES.obs_size)))["params"]
        jax.tree.map(np.testing.assert_array_equal, weights, of_seed)
        policy = load_policy(kept / f"learner_{i}")
        score = evaluate(policy, policy.task, episodes=chosen.run.eval_episodes, seed=0)
        assert policy.env_steps == 512
        assert (score.mean, score.std) == (last["return"][i], last["return_std"][i])
    assert last["return"][0] != last["return"][1]


def test_a_learner_without_a_score_is_told_as_such(keys, tmp_path, monkeypatch, capsys):
    def breaks(act, task, episodes, seed):
        raise NoScore("It broke.")

    monkeypatch.setattr(judging, "evaluate", breaks)
    out = tmp_path / "out.json"
    assert command.main(["--out", str(out), *SMOKE, "--vary", "polyak=0.1,0.2"]) == 0
    assert json.loads(out.read_text())["rounds"][-1]["return"] == [None, None]
    assert "512 steps each: none none" in capsys.readouterr().out


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
    rows = [dict(zip(names, map(float, row), strict=True)) for row in design(5)]
    returns = [1000.0 + 300.0 * row["polyak"] - 50.0 * row["critic_lr"] for row in rows]
    summary({"learners": rows, "rounds": [{"return": [0.0] * 16}, {"return": returns}]})
    told = capsys.readouterr().out.splitlines()[-5:]
    changes = [line.split(": ")[1].split(" ")[0] for line in told]
    assert [float(x) for x in changes] == [0.0, 300.0, 0.0, 0.0, -50.0]
    assert all("(standard error 0)" in line for line in told)
