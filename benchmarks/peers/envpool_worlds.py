"""EnvPool's worlds under random actions: envpool_worlds.py TASK WORLDS BATCH THREADS.

BATCH below WORLDS is its asynchronous mode, which goes on when so many worlds have stepped.
"""

import sys
from importlib import metadata

import envpool
import numpy as np
from worker import serve


def main() -> None:
    task, (worlds, batch, threads) = sys.argv[1], map(int, sys.argv[2:5])
    pool = envpool.make(
        task, env_type="gymnasium", num_envs=worlds, batch_size=batch, num_threads=threads, seed=0
    )
    box, rng = pool.action_space, np.random.default_rng(0)
    pool.async_reset()

    def launch() -> int:
        *_, info = pool.recv()
        pool.send(rng.uniform(box.low, box.high, (batch, *box.shape)), info["env_id"])
        return batch

    serve(launch, version=f"envpool {metadata.version('envpool')}")


if __name__ == "__main__":
    main()
