"""Many worlds of the batched environment in one scene, as they are while a policy is trained."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from mjx_dm.checkpoints.policy import Policy
from mjx_dm.config import ConfigError
from mjx_dm.drawing.camera import runner_of
from mjx_dm.drawing.scene import corners, posed, scene_model
from mjx_dm.drawing.shot import Shot, Tile
from mjx_dm.envs import make_env
from mjx_dm.films.options import FilmOptions
from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.task import Task

# Until the worlds have drifted apart, and some have fallen and begun anew.
BEFORE_SECONDS = 3.0
MOST_SECONDS = 3.0  # of the robots' time: every frame is hundreds of robots
APART = 1.7  # robots' sizes between two


def worlds_shot(policy: Policy, task: Task | LibraryTask, seed: int, options: FilmOptions) -> Shot:
    """`film_worlds` worlds on a grid, which moves on as they do on average.

    Each step of the environment is a frame, or one in several. A world whose episode ends goes on
    from a fresh start at its place in the grid. Raises ConfigError for another library's task.
    """
    if isinstance(task, LibraryTask):
        raise ConfigError(
            f"--film worlds draws tasks of mjx_dm and your own; {task.name} is another library's."
        )
    every = max(1, round(1.0 / (options.frames_per_second * task.step_seconds)))
    seconds = min(options.seconds / options.slow, MOST_SECONDS)
    frames = max(1, round(seconds / (every * task.step_seconds)))
    qpos, done = _play(policy, task, options.film_worlds, seed, frames * every)
    model = scene_model(task, options.width, options.height, options.camera)
    place = _grid(task, qpos, done)
    shown = slice(0, None, every)
    return Shot(
        model,
        (Tile(qpos[shown], place[shown]),),
        options.width,
        options.height,
        rate=1.0 / (every * task.step_seconds * options.slow),
        slow=options.slow,
        camera=options.camera,
    )


def _play(
    policy: Policy, task: Task, count: int, seed: int, steps: int
) -> tuple[Float[np.ndarray, "T N nq"], np.ndarray]:
    """Positions after each of `steps` steps of `count` worlds, and which (T, N) were reset."""
    with jax.default_device(jax.devices("cpu")[0]):
        env = make_env(count, task, engine="mujoco", physics="auto", seed=seed)
        step = jax.jit(env.step)
        state = jax.jit(env.reset)(jax.random.key(seed))
        found, done = [], []
        before = round(BEFORE_SECONDS / task.step_seconds)
        for number in range(before + steps):
            state = step(state, jnp.asarray(policy.act(np.asarray(state.obs)), jnp.float32))
            if number >= before:
                found.append(np.asarray(state.physics.qpos))
                done.append(np.asarray(state.terminated | state.truncated))
    return np.stack(found), np.stack(done)


def _grid(
    task: Task, qpos: Float[np.ndarray, "T N nq"], done: np.ndarray
) -> Float[np.ndarray, "T N 3"]:
    """How far every robot is moved from where it is, to stand on a grid in the first frame."""
    model, (frames, count) = task.model, qpos.shape[:2]
    solid = np.flatnonzero(~np.isin(model.geom_type, [0, 1]))
    size = np.ptp(corners(model, posed(model), solid), axis=0)
    step = APART * np.maximum(size[:2], 0.5 * size[:2].max())
    # As long as it is wide, in m.
    rows = max(1, round(np.sqrt(count * step[1] / step[0])))
    columns = -(-count // rows)
    row, column = np.divmod(np.arange(count), columns)
    cell = np.stack([row - (rows - 1) / 2, column - (columns - 1) / 2], 1)
    place = np.zeros((frames, count, 3))
    place[:, :, :2] = cell * step
    if not runner_of(model):
        return place
    where = qpos[:, :, :2] if model.jnt_type[0] == 0 else _slid(qpos)
    moved = np.zeros(2)
    home = cell * step - where[0]
    for frame in range(frames):
        if frame:
            on = ~done[frame]
            if on.any():
                moved = moved + (where[frame] - where[frame - 1])[on].mean(0)
            fresh = done[frame]
            home[fresh] = (cell * step + moved - where[frame])[fresh]
        place[frame, :, :2] = home
    return place


def _slid(qpos: Float[np.ndarray, "T N nq"]) -> Float[np.ndarray, "T N 2"]:
    """Where robots of the plane are, whose first joint slides along x."""
    where = np.zeros((*qpos.shape[:2], 2))
    where[:, :, 0] = qpos[:, :, 0]
    return where
