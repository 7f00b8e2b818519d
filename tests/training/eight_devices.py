"""A run of a toy on eight devices, and its checkpoint on four and on one; prints JSON.

Started by `test_mesh.py` in a process of its own: JAX has to be told before it starts how many
devices a CPU is.
"""

import json
import sys
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from brax import envs

from mjx_dm.checkpoints import saving
from mjx_dm.config import replace
from mjx_dm.presets import PRESETS
from mjx_dm.training import mesh as meshes
from mjx_dm.training.worlds import make_worlds

CONFIG = replace(
    PRESETS["smoke"], task="brax:rail", engine="auto", physics="auto", num_envs=16, batch_size=16,
    random_steps=32, chunk_iterations=5, learner="sac", critic="scalar", actor_widths=(8,),
    critic_widths=(8,), normalize_reward=True,
)  # fmt: skip


def program(count):
    share = meshes.share(CONFIG, count)
    mesh = meshes.make_mesh(replace(CONFIG, devices=count))
    return meshes.programs(share, make_worlds(share), mesh)


def numbers(tree):
    def number(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): number(x) for path, x in leaves}


def rows_that_differ(x):
    return len(np.unique(np.asarray(x), axis=0))


def main():
    jax.config.update("jax_disable_most_optimizations", True)
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from toys import Rail

    envs._envs["rail"] = Rail
    init, chunk, shapes = program(8)
    state = jax.jit(lambda: init(jax.random.key(0)))()
    starts = rows_that_differ(state.env.starts.obs)
    chunk = jax.jit(chunk, donate_argnums=0).lower(shapes).compile()
    for _ in range(2):
        state, metrics = chunk(state)
    replicated = (state.learner, state.normalizer, state.returns.moments, state.returns.largest)
    report = {
        "updates": int(state.learner.updates),
        "critic_loss": float(metrics["critic_loss"]),
        "fingerprint": meshes.fingerprint(replicated),
        "weight": float(state.normalizer.weight),
        "seen": 0.01 + 2 * CONFIG.run.chunk_iterations * CONFIG.physics.num_envs,
        "worlds": CONFIG.physics.num_envs,
        "different_starts": starts,
        "different_rows": rows_that_differ(np.moveaxis(np.asarray(state.replay.obs), 1, 0)[:, 5:9]),
    }
    sharding = state.learner.log_alpha.sharding
    copies = [jax.device_put(np.float32(i == 3), x) for i, x in enumerate(jax.devices())]
    spoilt = jax.make_array_from_single_device_arrays((), sharding, copies)
    report["spoilt_fingerprint"] = meshes.fingerprint(spoilt)
    saved = numbers(state)
    with tempfile.TemporaryDirectory() as folder:
        saving.save(folder, 10, state)
        for count in (1, 4):
            found = saving.restore(folder, program(count).shapes)[1]
            here = numbers(found)
            report[f"restored_on_{count}"] = {
                "devices": len(found.replay.obs.sharding.device_set),
                "differs": [name for name in saved if not np.array_equal(saved[name], here[name])],
            }
    print(json.dumps(report))


main()
