"""The leaves of a tree that is saved: what a manifest says of them, and what may be believed."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mjx_dm import host
from mjx_dm.checkpoints.manifest import CheckpointError, brief

Parts = tuple[str, ...]
# Numbers of key data of each generator, and what its keys are called as a dtype.
_KEYS = {
    "threefry2x32": (2, "key<fry>"),
    "rbg": (4, "key<rbg>"),
    "unsafe_rbg": (4, "key<urbg>"),
}


class Leaf(NamedTuple):
    """A leaf as a manifest describes it; of a typed PRNG key, `key_impl` names the generator."""

    shape: tuple[int, ...]
    dtype: str
    key_impl: str | None

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Of what is stored: of a key, its key data."""
        return self.shape if self.key_impl is None else (*self.shape, _KEYS[self.key_impl][0])

    @property
    def array_dtype(self) -> str:
        """Of what is stored."""
        return self.dtype if self.key_impl is None else "uint32"


def read_leaves(where: object, listed: list[Any]) -> dict[Parts, Leaf]:
    """The leaves of a manifest by path, once they are found to be what a tree could hold.

    Raises CheckpointError where one is not, or where all of them would not fit into the memory of
    this machine; `where` names the checkpoint.
    """
    found: dict[Parts, Leaf] = {}
    nodes: set[Parts] = set()
    for number, raw in enumerate(listed):
        try:
            path, leaf = _read_leaf(raw)
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"The manifest of checkpoint {where} does not describe leaf {number} "
                f"({brief(error)}): copy the checkpoint again."
            ) from error
        found[path] = leaf
        nodes |= {path[:depth] for depth in range(1, len(path))}
    if len(found) < len(listed) or nodes & found.keys():
        raise CheckpointError(
            f"The manifest of checkpoint {where} has two leaves in one place: copy the checkpoint "
            "again."
        )
    size = sum(math.prod(x.array_shape) * np.dtype(x.array_dtype).itemsize for x in found.values())
    room = host.memory()
    if room is not None and size > room:
        raise CheckpointError(
            f"Checkpoint {where} holds {size / 2**30:.1f} GiB, and this machine has "
            f"{room / 2**30:.1f} GiB of memory."
        )
    return found


def _read_leaf(raw: Any) -> tuple[Parts, Leaf]:
    path, shape, dtype, impl = (raw[x] for x in ("path", "shape", "dtype", "key_impl"))
    if not isinstance(path, list) or not path or not all(isinstance(x, str) for x in path):
        raise ValueError("its path is not a list of names")
    if not isinstance(shape, list) or not all(type(x) is int and 0 <= x < 2**62 for x in shape):
        raise ValueError("its shape is not a list of sizes")
    if len(shape) > 32 or len(path) > 64:
        raise ValueError("it has too many axes or lies too deep")
    if impl is None:
        # By the name alone: a structured type may be written in many ways.
        is_numeric = isinstance(dtype, str) and dtype.isalnum() and _kind(dtype) in "biufcV"
        if not is_numeric:
            raise ValueError("its dtype is not that of numbers")
    elif impl not in _KEYS or dtype != _KEYS[impl][1] or 0 in shape:
        raise ValueError("it is no PRNG key that JAX knows")
    return tuple(path), Leaf(tuple(shape), dtype, impl)


def _kind(dtype: str) -> str:
    found = jnp.dtype(dtype)
    if found.name != dtype:
        raise ValueError("its dtype is not that of numbers")
    return found.kind


def to_leaves(tree: Any) -> tuple[list[dict[str, Any]], dict[Parts, np.ndarray]]:
    """What the manifest says of each leaf, and the arrays that have elements.

    A typed PRNG key is its key data and the name of its generator.
    """
    described: dict[str, dict[str, Any]] = {}
    arrays = {}
    for key_path, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
        path, key_impl = parts(key_path), None
        name = ".".join(path)
        if name in described:
            raise CheckpointError(f"Two leaves of the tree are called {name}: rename one of them.")
        shape, dtype = shape_and_dtype(value)
        if _is_typed_key(value):
            key_impl, value = str(jax.random.key_impl(value)), jax.random.key_data(value)
        array = np.asarray(jax.device_get(value))
        # JAX's extension types, such as bfloat16, have NumPy's kind "V", as its records have.
        is_numeric = array.dtype.kind in "biufcV" and not array.dtype.names
        if not is_numeric or (key_impl and not array.size):
            raise CheckpointError(
                f"Leaf {name} is {describe(shape, dtype)}, and a checkpoint holds only arrays, "
                "numbers and PRNG keys."
            )
        described[name] = {"path": path, "shape": shape, "dtype": dtype, "key_impl": key_impl}
        if array.size:
            arrays[path] = array
    if not arrays:
        raise CheckpointError("The tree to save holds no numbers: pass the state of the run.")
    return list(described.values()), arrays


def parts(key_path: tuple[Any, ...]) -> Parts:
    """A leaf's path as field names, dict keys and positions."""
    return tuple(jax.tree_util.keystr((x,), simple=True) for x in key_path) or ("value",)


def shape_and_dtype(leaf: Any) -> tuple[tuple[int, ...], str]:
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return tuple(leaf.shape), str(leaf.dtype)


def describe(shape: Iterable[int], dtype: str) -> str:
    return f"{dtype}[{', '.join(map(str, shape))}]"


def _is_typed_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_template(array: np.ndarray, key_impl: str | None, template: Any) -> Any:
    """`array` as what `template` is; on its devices where it has a sharding."""
    if key_impl is not None:
        data = array if template.sharding is None else _shared_out(array, template.sharding)
        return jax.random.wrap_key_data(jnp.array(data), impl=key_impl)
    if isinstance(template, (bool, int, float, complex)):
        return array.item()
    if isinstance(template, np.ndarray):
        return array
    if isinstance(template, np.generic):
        return array[()]
    if isinstance(template, jax.ShapeDtypeStruct) and template.sharding is not None:
        return _shared_out(array, template.sharding)
    # A copy: a donated buffer must belong to JAX, not to NumPy.
    return jnp.array(array)


def _shared_out(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """`array` over devices, of which this process fills its own, one after another."""
    return jax.make_array_from_callback(
        array.shape, sharding, lambda where: jnp.array(array[where])
    )


def nest(arrays: Mapping[Parts, Any]) -> dict[str, Any]:
    root: dict[str, Any] = {}
    for path, array in arrays.items():
        node = root
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = array
    return root
