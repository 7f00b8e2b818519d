"""How exactly an engine is a task's Gymnasium environment: python -m mjx_dm.envs.parity.

The same states and actions go through an engine and through Gymnasium: for one step, for 20, and
through whole episodes of the environment. Reported is the largest error of every quantity.
"""

import dataclasses
import functools
import json
import os
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro
from jaxtyping import Array, Bool, Float, Float32, Int

from mjx_dm.config import ConfigError
from mjx_dm.ending import leave
from mjx_dm.engines import choose_engine, make_engine
from mjx_dm.envs import batch as envs
from mjx_dm.tasks import get_task, task_names
from mjx_dm.tasks.task import Task

HORIZONS = {"1": "1 step", "20": "20 steps", "episode": "episodes"}
DIVERGED = 1e-3  # of a position in m or rad, or of a quaternion's component


class Trajectory(NamedTuple):
    """What T steps of N worlds led to. `failed`: the engine itself says not to trust the row."""

    qpos: Float[np.ndarray, "T N nq"]
    obs: Float[np.ndarray, "T N obs"]
    reward: Float[np.ndarray, "T N"]
    terminated: Bool[np.ndarray, "T N"]
    failed: Bool[np.ndarray, "T N"]
    infos: dict[str, Float[np.ndarray, "T N"]]


class Case(NamedTuple):
    """N worlds, and what Gymnasium made of them; `length` is the step that ends their episode."""

    kind: tuple[str, ...]
    qpos: Float32[np.ndarray, "N nq"]
    qvel: Float32[np.ndarray, "N nv"]
    action: Float32[np.ndarray, "T N act"]
    gymnasium: Trajectory
    length: Int[np.ndarray, "N"]


def kinds(task: Task) -> tuple[str, ...]:
    """Kinds of start that `make_state` has for this robot."""
    free = task.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    return ("reset", "moving", "late", "fast", *(("jumping", "sunk", "far") if free else ()))


def make_case(task: Task, worlds: int, steps: int, seed: int = 0) -> Case:
    """`worlds` of each kind; every second one acts outside the box too, 2.5 times as far."""
    rng = np.random.default_rng(seed)
    peer = make_peer(task)
    kind = tuple(np.repeat(kinds(task), worlds).tolist())
    starts = zip(*(make_state(task, peer, k, rng) for k in kind), strict=True)
    qpos, qvel = (np.stack(x).astype(np.float32) for x in starts)
    reach = np.where(np.arange(len(kind)) % 2, 2.5, 1.0)[:, None]
    action = reach * rng.uniform(
        task.spaces.action_low, task.spaces.action_high, (steps, len(kind), task.spaces.action_size)
    )
    action = action.astype(np.float32)
    theirs = gymnasium_steps(peer, qpos, qvel, action)
    ends = np.concatenate([theirs.terminated[:-1], np.ones((1, len(kind)), bool)])
    return Case(kind, qpos, qvel, action, theirs, ends.argmax(0) + 1)


def make_state(
    task: Task, peer: Any, kind: str, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "nq"], Float[np.ndarray, "nv"]]:
    """A random (qpos, qvel) of one of `kinds`; moves `peer` and draws from `rng`.

    reset: a fresh start. moving: with random speeds. late, fast: after random actions, of some
    steps or of many, which leave what can fall in a heap. jumping, sunk, far (robots that float
    free): off the ground and turned, in the floor, and where a runner ends its episode.
    """
    peer.reset(seed=int(rng.integers(2**31)))
    if kind in ("late", "fast"):
        low, high = task.spaces.action_low, task.spaces.action_high
        for action in rng.uniform(low, high, (15 if kind == "late" else 150, len(low))):
            peer.step(action)
    qpos, qvel = peer.data.qpos.copy(), peer.data.qvel.copy()
    if kind in ("moving", "fast", "jumping"):
        qvel += rng.normal(0.0, 1.0, len(qvel))
    if kind == "jumping":
        qpos[2], qvel[2] = qpos[2] + 0.3, rng.uniform(1.0, 3.0)
        qpos[3:7] += rng.normal(0.0, 0.3, 4)
    elif kind == "sunk":
        qpos[2] -= rng.uniform(0.12, 0.17)
    elif kind == "far":
        qpos[0], qvel[0] = 80.0, 5.0
    if task.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE:
        qpos[3:7] /= np.linalg.norm(qpos[3:7])
    return qpos, qvel


def make_peer(task: Task) -> Any:
    """The task's Gymnasium environment, without its time limit."""
    assert task.gym_id is not None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is out of date.*")
        return gymnasium.make(task.gym_id, **task.options).unwrapped


def place(peer: Any, qpos: Float[np.ndarray, "nq"], qvel: Float[np.ndarray, "nv"]) -> None:
    """Puts a Gymnasium environment at a state, with nothing left of what it did before."""
    peer.reset(seed=0)
    mujoco.mj_resetData(peer.model, peer.data)
    peer.set_state(qpos.astype(np.float64), qvel.astype(np.float64))


def gymnasium_steps(
    peer: Any, qpos: np.ndarray, qvel: np.ndarray, action: np.ndarray
) -> Trajectory:
    """Gymnasium's own steps, world after world, going on where an episode would end."""
    worlds = []
    for world, state in enumerate(zip(qpos, qvel, strict=True)):
        place(peer, *state)
        rows = []
        for a in action[:, world].astype(np.float64):
            obs, reward, terminated, _, info = peer.step(a)
            numbers = {k: float(v) for k, v in info.items() if np.ndim(v) == 0}
            rows.append((peer.data.qpos.copy(), obs, reward, terminated, False, numbers))
        worlds.append(_stack(rows, axis=0))
    return _stack(worlds, axis=1)


def _stack(parts: list[Any], axis: int) -> Trajectory:
    stacked = jax.tree.map(lambda *x: np.stack(x, axis), *(tuple(part) for part in parts))
    return Trajectory(*stacked)


class _Watched(envs.BatchEnv):
    """An environment that keeps what its newest step led to, before any world was reset."""

    led_to: envs.Outcome

    def advance(self, *before: Any) -> envs.Outcome:
        self.led_to = super().advance(*before)
        return self.led_to


def env_steps(task: Task, engine: str, case: Case) -> tuple[Trajectory, Trajectory]:
    """The environment's steps: with every world going on where its episode would end, and with
    worlds reset as in training, where a world's rows after its end are another episode's."""
    num_envs = len(case.kind)
    env = _Watched(task, make_engine(task, engine, "exact", num_envs), num_envs)

    def step(ends: Array, state: envs.EnvState, action: Array) -> Any:
        after, infos = env.step_with_info(state, action)
        row = after.final_obs, after.reward, after.terminated, ~after.valid, infos
        on, reset = (env.led_to.physics, env.led_to.carried), (after.physics, after.carried)
        physics, carried = jax.tree.map(lambda a, b: jnp.where(ends, a, b), reset, on)
        return after._replace(physics=physics, carried=carried), (env.led_to.physics.qpos, *row)

    @jax.jit
    def run(ends: Array) -> Any:
        qpos, qvel = jnp.asarray(case.qpos), jnp.asarray(case.qvel)
        state = env.set_state(env.reset(jax.random.key(0)), qpos, qvel)
        return jax.lax.scan(functools.partial(step, ends), state, jnp.asarray(case.action))[1]

    free, episode = (
        Trajectory(*jax.tree.map(np.asarray, run(jnp.asarray(ends)))) for ends in (False, True)
    )
    return free, episode


def measure(task: Task, engine: str, case: Case) -> dict[str, Any]:
    """One engine's errors by kind and horizon, and steps until the qpos error is `DIVERGED`.

    0 steps: the whole trajectory stays together.
    """
    free, episode = env_steps(task, engine, case)
    qpos = np.abs(free.qpos - case.gymnasium.qpos).max(-1)
    apart = np.where((qpos > DIVERGED).any(0), (qpos > DIVERGED).argmax(0) + 1, 0)
    report: dict[str, Any] = {}
    for kind in dict.fromkeys(case.kind):
        worlds = np.array(case.kind) == kind
        report[kind] = {h: errors(free, case, worlds * int(h)) for h in list(HORIZONS)[:2]}
        report[kind]["episode"] = errors(episode, case, worlds * case.length)
        report[kind]["episode_steps"] = case.length[worlds].tolist()
        report[kind]["steps_until_apart"] = apart[worlds].tolist()
    return report


def errors(ours: Trajectory, case: Case, until: np.ndarray) -> dict[str, dict[str, float]]:
    """Of every quantity over the first `until` (N,) steps: its largest error, its largest value,
    and its largest error relative to max(1, the largest value of the same component)."""
    row = np.arange(len(ours.obs))[:, None] < until

    def quantities(trajectory: Trajectory) -> dict[str, np.ndarray]:
        values = trajectory._asdict() | trajectory.infos
        return {n: np.asarray(values[n][: len(row)][row], np.float64) for n in names}

    names = (*Trajectory._fields[:-1], *case.gymnasium.infos)
    a, b = quantities(ours), quantities(case.gymnasium)
    found = {}
    for name in names:
        error, largest = np.abs(a[name] - b[name]).max(0), np.abs(b[name]).max(0)
        found[name] = {
            "error": float(error.max()),
            "largest": float(largest.max()),
            "relative": float((error / np.maximum(largest, 1.0)).max()),
        }
    return found


def markdown(report: dict[str, Any]) -> str:
    """One row a task and engine: the largest errors of one step and of episodes."""
    head = ["task", "engine", "qpos, 1 step", "obs, 1 step", "reward, 1 step", "ends", "to 1e-3"]
    lines = [head, ["---", "---", *["---:"] * (len(head) - 2)]]
    for task, engines in report["tasks"].items():
        for engine, found in engines.items():
            if "refused" in found:
                lines.append([task, engine, found["refused"], *[""] * (len(head) - 3)])
                continue
            cells = [
                f"{max(k['1'][name]['error'] for k in found.values()):.0e}"
                for name in ("qpos", "obs", "reward")
            ]
            ends = max(k["1"]["terminated"]["error"] for k in found.values())
            steps = report["options"]["steps"]
            apart = [s or steps + 1 for k in found.values() for s in k["steps_until_apart"]]
            middle = np.median(apart)
            apart_text = f"{middle:.0f}" if middle <= steps else f"> {steps}"
            lines.append([task, engine, *cells, "differ" if ends else "equal", apart_text])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare engines with tasks' Gymnasium environments, state by state."""

    task: tuple[str, ...] = ("Humanoid-v4",)
    """Names of tasks, or all."""
    engines: tuple[Literal["mujoco", "mjx", "warp"], ...] = ("mujoco",)
    worlds: int = 4
    """Worlds per kind of start."""
    steps: int = 100
    """At least 20."""
    seed: int = 0
    json: Path | None = None
    markdown: Path | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status: 0 done, 2 bad input."""
    options = tyro.cli(Options, args=arguments, prog="python -m mjx_dm.envs.parity")
    try:
        for engine in options.engines:
            choose_engine(engine)
        if options.steps < 20 or options.worlds < 1:
            raise ConfigError("--steps must be at least 20 and --worlds at least 1.")
        if options.task != ("all",):
            for name in options.task:
                if get_task(name).gym_id is None:
                    raise ConfigError(f"{name} has no Gymnasium environment to be compared with.")
    except ConfigError as error:
        print(f"mjx_dm.envs.parity: {error}", file=sys.stderr)
        return 2
    names = {"jax", "mujoco", "mujoco-mjx", "warp-lang", "gymnasium", "numpy"}
    found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    report: dict[str, Any] = {
        "machine": {"device": jax.devices()[0].device_kind, "cores": os.cpu_count()},
        "versions": {name: found[name] for name in sorted(names & found.keys())},
        "options": {key: getattr(options, key) for key in ("worlds", "steps", "seed")},
        "tasks": {},
    }
    for name in task_names() if options.task == ("all",) else options.task:
        report["tasks"][name] = _measure_all(name, options)
        if options.json:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=1) + "\n")
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(markdown(report))
    print(markdown(report))
    return 0


def _measure_all(name: str, options: Options) -> dict[str, Any]:
    try:
        task = get_task(name)
    except ConfigError as error:
        return {"-": {"refused": str(error)}}
    case = make_case(task, options.worlds, options.steps, options.seed)
    found: dict[str, Any] = {}
    for engine in options.engines:
        try:
            found[engine] = measure(task, engine, case)
        except ConfigError as error:
            found[engine] = {"refused": str(error)}
    return found


if __name__ == "__main__":
    leave(main)
