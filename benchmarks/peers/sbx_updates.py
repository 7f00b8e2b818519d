"""Updates of a learner of sbx's: sbx_updates.py ALGORITHM BATCH ROWS OBS ACTIONS.

Its own train() draws the batches from its replay, in NumPy, and makes the updates in one program.
"""

import sys
from importlib import metadata

import gymnasium
import jax
import numpy as np
import sbx
from worker import serve

UPDATES = 32


class Nowhere(gymnasium.Env):
    """Sizes alone: no physics is simulated, and no package of robots needed."""

    def __init__(self, obs: int, actions: int) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (obs,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (actions,), np.float32)
        self.rng = np.random.default_rng(0)

    def _obs(self) -> np.ndarray:
        return self.rng.standard_normal(self.observation_space.shape, np.float32)

    def reset(self, *, seed=None, options=None):
        return self._obs(), {}

    def step(self, action):
        return self._obs(), 5.0, False, False, {}


def main() -> None:
    name, (batch, rows, obs, actions) = sys.argv[1], map(int, sys.argv[2:6])
    model = getattr(sbx, name)(
        "MlpPolicy",
        Nowhere(obs, actions),
        batch_size=batch,
        buffer_size=rows,
        learning_starts=rows,
        policy_kwargs={"net_arch": {"pi": [256, 256], "qf": [256, 256]}},
        seed=0,
    )
    model.learn(rows)  # fills the replay by random actions

    def launch() -> int:
        model.train(UPDATES, batch)
        jax.block_until_ready(model.policy.qf_state.params)
        return UPDATES

    launch()  # CrossQ's program depends on where the last call ended: compiled twice
    versions = (f"{package} {metadata.version(package)}" for package in ("sbx-rl", "jax"))
    serve(launch, version=", ".join(versions))


if __name__ == "__main__":
    main()
