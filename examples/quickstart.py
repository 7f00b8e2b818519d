"""Train, score, film and step a robot from Python: the same as quickstart.ipynb."""

# %% Train
# A pendulum that learns in a minute on a CPU. For the humanoid: task="Humanoid-v4", minutes=20.
import jax
import numpy as np

import mjx_dm
from mjx_dm.config import replace
from mjx_dm.presets import PRESETS

config = replace(
    PRESETS["sample"],
    task="InvertedPendulum-v5",
    run_dir="runs/quickstart",
    minutes=0.5,
    random_steps=500,
    eval_every=5_000,
    eval_episodes=2,
    save_replay=False,
)
run_dir = mjx_dm.train(config)

# %% Score
# Whole episodes of Gymnasium's environment on the CPU, by the mean action.
policy = mjx_dm.load_policy(run_dir / "best")
score = mjx_dm.evaluate(policy, "InvertedPendulum-v5", episodes=5, seed=1000)
print(f"return {score.mean:.0f} ± {score.std:.0f} over {len(score.returns)} episodes")

# %% Step the worlds yourself
# Any number of worlds in JAX; the policy acts on a batch of observations.
env = mjx_dm.make_env(num_envs=16, task="InvertedPendulum-v5")
state, step = jax.jit(env.reset)(jax.random.key(0)), jax.jit(env.step)
for _ in range(20):
    state = step(state, policy.act(np.asarray(state.obs)))
print("reward of each world:", state.reward)
