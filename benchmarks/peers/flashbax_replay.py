"""flashbax's flat buffer: flashbax_replay.py insert|sample WORLDS BATCH ROWS OBS ACTIONS.

It holds each observation once, as ours does, and is written and drawn from in a scan, as ours is.
"""

import functools
import sys
from importlib import metadata
from typing import Any

import flashbax
import jax
import jax.numpy as jnp
from worker import serve

TURNS = 200


def main() -> None:
    what, (worlds, batch, rows, obs, actions) = sys.argv[1], map(int, sys.argv[2:7])
    buffer = flashbax.make_flat_buffer(
        max_length=rows, min_length=worlds, sample_batch_size=batch, add_batch_size=worlds
    )
    row = {
        "obs": jnp.ones((worlds, obs)),
        "action": jnp.ones((worlds, actions)),
        "reward": jnp.ones(worlds),
        "discount": jnp.ones(worlds),
    }
    state = buffer.init(jax.tree.map(lambda x: x[0], row))
    size = sum(x.nbytes for x in jax.tree.leaves(state))

    @functools.partial(jax.jit, donate_argnums=0)
    def insert(state: Any, row: Any) -> Any:
        return jax.lax.scan(lambda s, _: (buffer.add(s, row), None), state, length=TURNS)[0]

    @jax.jit
    def sample(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        def turn(carry: tuple[Any, jax.Array], _: None) -> tuple[tuple[Any, jax.Array], None]:
            key, draw_key = jax.random.split(carry[1])
            return (buffer.sample(state, draw_key).experience, key), None

        first = buffer.sample(state, key).experience
        return jax.lax.scan(turn, (first, key), length=TURNS)[0]

    for _ in range(rows // worlds // TURNS + 1):
        state = insert(state, row)
    key = jax.random.key(0)

    def launch() -> int:
        nonlocal state, key
        if what == "insert":
            state = jax.block_until_ready(insert(state, row))
            return TURNS * worlds
        _, key = jax.block_until_ready(sample(state, key))
        return TURNS * batch

    versions = (f"{package} {metadata.version(package)}" for package in ("flashbax", "jax"))
    serve(launch, version=", ".join(versions), bytes=size)


if __name__ == "__main__":
    main()
