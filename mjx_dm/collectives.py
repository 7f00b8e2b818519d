"""What devices that run one program together tell each other, each of them with worlds of its own.

Written for the inside of `jax.shard_map` over a mesh axis AXIS; one device has nobody to tell, and
its program holds nothing of this.
"""

import dataclasses
from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

Tree = TypeVar("Tree")
Other = TypeVar("Other")

AXIS = "worlds"
# Folded into a key with a device's place; a small number would give a key that a split gives too.
_PLACES = 2**30


@dataclasses.dataclass(frozen=True)
class Devices:
    """`size` devices; every function is called by all of them, and gives all of them the same but
    for `own`."""

    size: int = 1

    def own(self, key: Array) -> Array:
        """A key of this device alone, from one that all have; consumes `key`."""
        if self.size == 1:
            return key
        return jax.random.fold_in(key, _PLACES + jax.lax.axis_index(AXIS))

    def mean(self, tree: Tree) -> Tree:
        """Of float32 arrays, in one collective."""
        if self.size == 1:
            return tree
        joined, back = ravel_pytree(tree)
        return back(jax.lax.pmean(joined, AXIS))

    def means(self, plain: Tree, weighted: Other, weight: Float[Array, ""]) -> tuple[Tree, Other]:
        """The mean of `plain`, and that of `weighted` where a device counts by its `weight`, a
        number of rows; in one collective."""
        if self.size == 1:
            return plain, weighted
        scaled = jax.tree.map(lambda x: x * weight, weighted)
        plain, scaled, total = self.mean((plain, scaled, weight))
        # No rows at all leave sums of 0.
        total = jnp.maximum(total, 1.0 / self.size)
        return plain, jax.tree.map(lambda x: x / total, scaled)

    def sum(self, tree: Tree) -> Tree:
        """Of float32 arrays, in one collective."""
        if self.size == 1:
            return tree
        joined, back = ravel_pytree(tree)
        return back(jax.lax.psum(joined, AXIS))

    def largest(self, number: Float[Array, ""]) -> Float[Array, ""]:
        """The largest number."""
        return number if self.size == 1 else jax.lax.pmax(number, AXIS)


ALONE = Devices()
