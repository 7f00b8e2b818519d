"""The learner's matrix products: how precise they are, and how a CPU makes them from bfloat16.

`jax.default_matmul_precision("bfloat16")` changes nothing on a CPU by itself. Processors with AMX
multiply bfloat16 several times as fast as float32, and XLA has them do so, through YNNPACK, where
the factors are bfloat16 and lie as it wants them.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint
from jaxtyping import Array, BFloat16, Float


def compiler_options(precision: str) -> dict[str, str | bool]:
    """What XLA is told when it compiles a program with such products for the device at hand.

    jax 0.10 hands products and sums to YNNPACK on a CPU, which takes 1.16 times the time of doing
    without (the whole loop of preset `cpu` in float32 on one core). With 0.11.2 they are level.
    """
    if jax.default_backend() == "cpu" and jax.__version_info__ < (0, 11):
        kind = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT" if precision == "bfloat16" else ""
        return {"xla_cpu_experimental_ynn_fusion_type": kind}
    return {}


def rounded_on_cpu() -> bool:
    """Whether `dot_general` makes products of bfloat16 where it is traced."""
    precision = cast(Any, jax.config).jax_default_matmul_precision
    return precision == "bfloat16" and jax.default_backend() == "cpu"


def dot_general(x: Array, w: Array, dimensions: Any, **kwargs: Any) -> Array:
    """`jax.lax.dot_general` for flax's Dense, `(..., K)` by `(K, N)`. On a CPU it obeys
    `jax.default_matmul_precision("bfloat16")`, in its gradients too: factors rounded to bfloat16,
    sums in float32."""
    if not rounded_on_cpu():
        return jax.lax.dot_general(x, w, dimensions, **kwargs)
    assert dimensions == (((x.ndim - 1,), (0,)), ((), ())), dimensions
    return _product(x, w)


@jax.custom_vjp
def _product(x: Float[Array, "*B K"], w: Float[Array, "K N"]) -> Float[Array, "*B N"]:
    return _forward(x, w)[0]


Factors = tuple[BFloat16[Array, "*B K"], BFloat16[Array, "K N"]]


def _forward(x: Float[Array, "*B K"], w: Float[Array, "K N"]) -> tuple[Array, Factors]:
    x, w = x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)
    return _dot(x, w, x.ndim - 1, 0), (x, w)


def _backward(factors: Factors, slope: Float[Array, "*B N"]) -> tuple[Array, Array]:
    x, w = factors
    slope = slope.astype(jnp.bfloat16)
    rows = x.reshape(-1, x.shape[-1])
    # Laid out anew: a product over the first dimension of its first factor is made in float32.
    columns = with_layout_constraint(rows.T, Layout(major_to_minor=(0, 1)))
    of_w = _dot(columns, slope.reshape(-1, slope.shape[-1]), 1, 0)
    return _dot(slope, w, slope.ndim - 1, 1), of_w


_product.defvjp(_forward, _backward)


def _dot(a: Array, b: Array, of_a: int, of_b: int) -> Array:
    """The sum over dimension `of_a` of a and `of_b` of b, in float32."""
    dimensions = (((of_a,), (of_b,)), ((), ()))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)
