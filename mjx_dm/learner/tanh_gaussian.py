"""A diagonal Gaussian over actions, squashed into the box by tanh."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The nearest to 1 that an action is taken to be, in float32: |u| below 8.
_EDGE = 1e-7


@jax.tree_util.register_pytree_node_class
class TanhGaussian:
    """a = tanh(u), u ~ N(mu, diag exp(log_std)^2), so that actions lie in [-1, 1].

    Built from mu `(..., A)`, which is kept as `centre`, and log_std `(..., A)`, both of u.
    """

    def __init__(self, centre: Float[Array, "*B A"], log_std: Float[Array, "*B A"]):
        self.centre = centre
        self.log_std = log_std

    def tree_flatten(self):
        return (self.centre, self.log_std), None

    @classmethod
    def tree_unflatten(cls, _, children):
        # Past __init__: JAX also passes placeholders, which no shape check would accept.
        policy = object.__new__(cls)
        policy.centre, policy.log_std = children
        return policy

    def log_prob(self, action: Float[Array, "*B A"]) -> Float[Array, "*B"]:
        """log pi(a), for one action per batch element; an action at the edge counts as just inside.

        Extra leading dimensions of `action` broadcast against the policy's batch.
        """
        u = jnp.arctanh(jnp.clip(action, -1.0 + _EDGE, 1.0 - _EDGE))
        centre, log_std = (jnp.broadcast_to(x, u.shape) for x in (self.centre, self.log_std))
        return _density(u, (u - centre) * jnp.exp(-log_std), log_std)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Actions `(*shape, *B, A)`; consumes `key`."""
        return jnp.tanh(self._draw(key, shape)[0])

    def sample_and_log_prob(self, key: Array) -> tuple[Float[Array, "*B A"], Float[Array, "*B"]]:
        """An action, through which gradients reach mu and sigma, and its log pi, which is exact
        however near to the edge it lies; consumes `key`."""
        u, noise = self._draw(key, ())
        return jnp.tanh(u), _density(u, noise, self.log_std)

    def mean(self) -> Float[Array, "*B A"]:
        """tanh(mu), the median of every coordinate: what is scored."""
        return jnp.tanh(self.centre)

    def _draw(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        shape = (*shape, *self.centre.shape)
        noise = jax.random.normal(key, shape, self.centre.dtype)
        centre, log_std = (jnp.broadcast_to(x, shape) for x in (self.centre, self.log_std))
        return centre + jnp.exp(log_std) * noise, noise


def _density(
    u: Float[Array, "*B A"], noise: Float[Array, "*B A"], log_std: Float[Array, "*B A"]
) -> Float[Array, "*B"]:
    """log N(u) - sum log(1 - tanh(u)^2), where u is `noise` sigmas from mu."""
    # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not round to log 0.
    squeeze = 2.0 * (math.log(2.0) - u - jax.nn.softplus(-2.0 * u))
    normal = -0.5 * (jnp.square(noise) + math.log(2 * math.pi)) - log_std
    return jnp.sum(normal - squeeze, -1)
