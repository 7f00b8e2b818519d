"""A mixture over two coordinates of the action, and what Q makes of the same plane."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mjx_dm.checkpoints.critic import SavedCritic
from mjx_dm.learner.gmm import GMM


class Plane(NamedTuple):
    """Densities on a grid of `x` `(N,)` by `y` `(N,)`, rows of y, over two coordinates of the
    action; the others are those of the mixture's mean.

    policy: the mixture given the other coordinates, which integrates to 1 over the whole plane.
    boltzmann: exp(Q/T), which integrates to 1 over the grid.
    target: what the policy is fitted to, normalised alike.
    """

    coordinates: tuple[int, int]
    x: Float[np.ndarray, "N"]
    y: Float[np.ndarray, "N"]
    policy: Float[np.ndarray, "N N"]
    boltzmann: Float[np.ndarray, "N N"]
    target: Float[np.ndarray, "N N"]


def widest(gmm: GMM) -> tuple[int, int]:
    """The two coordinates in which a mixture, of no batch, is widest."""
    weights, mean = np.asarray(gmm.weights()), np.asarray(gmm.component_mean)
    variance = weights @ (np.exp(2 * np.asarray(gmm.log_std)) + (mean - weights @ mean) ** 2)
    first, second = sorted(np.argsort(-variance, kind="stable")[:2].tolist())
    return first, second


def plane(
    gmm: GMM,
    obs: Float[np.ndarray, "obs"],
    coordinates: tuple[int, int],
    critic: SavedCritic,
    box: tuple[np.ndarray, np.ndarray],
    points: int = 81,
) -> Plane:
    """The densities in the state of `obs`, where the policy is `gmm`, of no batch, over `box`: its
    low and high end `(A,)` in the policy's units.

    The target is q0 exp((Q - alpha log pi) / T), where proposals q0 are N(0, I) or the policy.
    """
    i, j = coordinates
    # Middles of cells, so that sums are integrals.
    x, y = (
        low + (high - low) * (np.arange(points) + 0.5) / points
        for low, high in ((box[0][c], box[1][c]) for c in coordinates)
    )
    actions = np.repeat(np.asarray(gmm.mean())[None], points * points, 0)
    actions[:, i], actions[:, j] = (grid.ravel() for grid in np.meshgrid(x, y))
    others = [c for c in range(actions.shape[1]) if c not in coordinates]
    log_pi = _log_density(gmm, actions)
    log_others = _log_density(_of(gmm, others), actions[:1, others])
    q = critic.min_q(obs, actions).astype(float)
    is_prior = critic.settings.policy.proposal == "prior"
    log_q0 = -0.5 * (actions**2).sum(-1) if is_prior else log_pi
    cell = float((x[1] - x[0]) * (y[1] - y[0]))

    def on_grid(logs: np.ndarray) -> np.ndarray:
        density = np.exp(logs - logs.max())
        return (density / (density.sum() * cell)).reshape(points, points)

    return Plane(
        coordinates,
        x,
        y,
        np.exp(log_pi - log_others).reshape(points, points),
        on_grid(q / critic.temperature),
        on_grid(log_q0 + (q - critic.alpha * log_pi) / critic.temperature),
    )


def at(gmm: GMM, step: int) -> GMM:
    """One of a batch `(T,)` of mixtures."""
    return jax.tree.map(lambda x: x[step], gmm)


def _of(gmm: GMM, coordinates: list[int]) -> GMM:
    """Of the coordinates alone, whatever the others are."""
    chosen = np.array(coordinates, int)
    return GMM(gmm.logits, gmm.component_mean[:, chosen], gmm.log_std[:, chosen])


def _log_density(gmm: GMM, actions: np.ndarray) -> np.ndarray:
    """log pi (M,) of actions (M, A), float64."""
    several = jax.tree.map(lambda x: x[None], gmm)
    return np.asarray(several.log_prob(jnp.asarray(actions)), float)
