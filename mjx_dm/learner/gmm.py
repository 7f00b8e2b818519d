"""A mixture of diagonal Gaussians over actions."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.tree_util.register_pytree_node_class
class GMM:
    """pi(a) = sum_k w_k N(a; mean_k, diag exp(log_std_k)^2), with w = softmax(logits).

    Built from logits `(..., K)`, mean `(..., K, A)` and log_std `(..., K, A)`. The means of the
    components are kept as `component_mean`, since `mean()` is the mean of the mixture.
    """

    def __init__(
        self,
        logits: Float[Array, "*B K"],
        mean: Float[Array, "*B K A"],
        log_std: Float[Array, "*B K A"],
    ):
        self.logits = logits
        self.component_mean = mean
        self.log_std = log_std

    def tree_flatten(self):
        return (self.logits, self.component_mean, self.log_std), None

    @classmethod
    def tree_unflatten(cls, _, children):
        # Past __init__: JAX also passes placeholders, which no shape check would accept.
        gmm = object.__new__(cls)
        gmm.logits, gmm.component_mean, gmm.log_std = children
        return gmm

    def log_prob(self, action: Float[Array, "*B A"]) -> Float[Array, "*B"]:
        """log pi(a), for one action per batch element: `(..., A)` -> `(...)`.

        Extra leading dimensions of `action` broadcast against the mixture's batch.
        """
        z = (action[..., None, :] - self.component_mean) * jnp.exp(-self.log_std)
        dims = action.shape[-1]
        log_component = (
            -0.5 * jnp.sum(z * z, -1)
            - jnp.sum(self.log_std, -1)
            - 0.5 * dims * math.log(2 * math.pi)
        )
        return jax.nn.logsumexp(jax.nn.log_softmax(self.logits) + log_component, axis=-1)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
        """Actions `(*shape, *B, A)`; consumes `key`."""
        return self._place(*self._draw(key, shape))

    def sample_pairs(self, key: Array, pairs: int) -> Float[Array, "..."]:
        """Actions `(2 * pairs, *B, A)`: the second half is the first, mirrored at the mean of the
        component that each came from. Every action is distributed as a sample; consumes `key`.

        The noise of a pair cancels in its sum (antithetic variates, Hammersley and Morton 1956).
        """
        chosen, noise = self._draw(key, (pairs,))
        return self._place(jnp.concatenate([chosen, chosen]), jnp.concatenate([noise, -noise]))

    def _draw(self, key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """The components, one-hot `(*shape, *B, K)`, and standard normals `(*shape, *B, A)`."""
        component_key, noise_key = jax.random.split(key)
        logits = jnp.broadcast_to(self.logits, (*shape, *self.logits.shape))
        # Gumbel-max: the one-hot product gathers without an index, which fuses on a GPU.
        gumbel = jax.random.gumbel(component_key, logits.shape, logits.dtype)
        chosen = jax.nn.one_hot(jnp.argmax(logits + gumbel, -1), logits.shape[-1])
        mean = self.component_mean
        noise = jax.random.normal(noise_key, (*logits.shape[:-1], mean.shape[-1]), mean.dtype)
        return chosen, noise

    def _place(self, chosen: Array, noise: Array) -> Array:
        # One sum over the components, not one for the mean and one for the deviation: those two,
        # fused with the noise, come out of XLA's CPU compiler in jax 0.10.2 as uninitialised
        # memory.
        shape = (*noise.shape[:-1], *self.component_mean.shape[-2:])
        mean, log_std = (jnp.broadcast_to(x, shape) for x in (self.component_mean, self.log_std))
        each = mean + jnp.exp(log_std) * noise[..., None, :]
        return jnp.sum(chosen[..., None] * each, -2)

    def mean(self) -> Float[Array, "*B A"]:
        """The mean of the mixture, sum_k w_k mean_k: `(..., A)`."""
        return jnp.sum(self.weights()[..., None] * self.component_mean, -2)

    def weights(self) -> Float[Array, "*B K"]:
        """w = softmax(logits): `(..., K)`."""
        return jax.nn.softmax(self.logits)

    def effective_components(self) -> Float[Array, "*B"]:
        """exp of the entropy of the weights: 1 when one component has it all, K when even."""
        return jnp.exp(-jnp.sum(self.weights() * jax.nn.log_softmax(self.logits), -1))
