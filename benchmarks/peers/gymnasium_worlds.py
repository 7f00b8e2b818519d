"""A vector environment of Gymnasium's under random actions: gymnasium_worlds.py TASK WORLDS MODE.

MODE is sync, one world after another, or async, a process for each.
"""

import sys
from importlib import metadata

import gymnasium
import numpy as np
from worker import serve


def main() -> None:
    task, worlds, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    envs = gymnasium.make_vec(task, num_envs=worlds, vectorization_mode=mode)
    envs.reset(seed=0)
    box, rng = envs.single_action_space, np.random.default_rng(0)

    def launch() -> int:
        envs.step(rng.uniform(box.low, box.high, (worlds, *box.shape)).astype(np.float32))
        return worlds

    serve(launch, version=f"gymnasium {metadata.version('gymnasium')}")
    envs.close()


if __name__ == "__main__":
    main()
