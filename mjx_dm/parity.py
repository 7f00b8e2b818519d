"""How exactly an engine is Gymnasium's Humanoid-v4: python -m mjx_dm.parity.

The same states and actions go through an engine and through Gymnasium, for one step, for 20, and
through whole episodes of the environment; the report holds the largest error of every field.
"""

import dataclasses
import json
import os
import platform
import sys
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro
from jaxtyping import Bool, Float, Float32, Int

from mjx_dm import envs, humanoid
from mjx_dm.engines import Engine
from mjx_dm.types import ACTION_SIZE, NQ, NV

KINDS = ("standing", "falling", "lying", "jumping", "flung", "sunk", "far")
HORIZONS = (1, 20)
DIVERGED = 1e-3  # of a position in m or rad, or of a quaternion's component
FIELDS = {
    "qpos": slice(0, 22),
    "qvel": slice(22, 45),
    "cinert": slice(45, 185),
    "cvel": slice(185, 269),
    "qfrc_actuator": slice(269, 292),
    "cfrc_ext": slice(292, 376),
}


class Trajectory(NamedTuple):
    """What T steps of N worlds led to. `failed`: the engine itself says not to trust the row."""

    obs: Float[np.ndarray, "T N 376"]
    reward: Float[np.ndarray, "T N"]
    terminated: Bool[np.ndarray, "T N"]
    failed: Bool[np.ndarray, "T N"]


class Case(NamedTuple):
    """Starts and actions of N worlds, equally many of every kind, and what Gymnasium made of them.

    Half the worlds of a kind act inside the box of ±0.4, the others up to ±1.
    """

    kind: tuple[str, ...]
    qpos: Float32[np.ndarray, "N 24"]
    qvel: Float32[np.ndarray, "N 23"]
    action: Float32[np.ndarray, "T N 17"]
    gymnasium: Trajectory


def make_case(worlds: int, steps: int, seed: int = 0, kinds: tuple[str, ...] = KINDS) -> Case:
    """`worlds` of each of `kinds` over `steps`."""
    rng = np.random.default_rng(seed)
    starts = [make_state(kind, rng) for kind in kinds for _ in range(worlds)]
    qpos, qvel = (np.stack(x).astype(np.float32) for x in zip(*starts, strict=True))
    n = len(starts)
    limit = np.where(np.arange(n) % 2, 1.0, humanoid.ACTION_LIMIT)[None, :, None]
    action = (limit * rng.uniform(-1, 1, (steps, n, ACTION_SIZE))).astype(np.float32)
    kind = tuple(kind for kind in kinds for _ in range(worlds))
    return Case(kind, qpos, qvel, action, gymnasium_steps(qpos, qvel, action))


def make_state(
    kind: str, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "24"], Float[np.ndarray, "23"]]:
    """A random (qpos, qvel) of one of `KINDS`; draws from `rng`."""
    qpos, qvel = rng.uniform(-0.01, 0.01, NQ), rng.uniform(-0.01, 0.01, NV)
    qpos[2:4] += 1.4, 1.0
    if kind == "falling":
        qpos[2] = rng.uniform(1.08, 1.15)
        qpos[3:7] += rng.normal(0.0, 0.2, 4)
        qpos[7:] += rng.uniform(-0.3, 0.3, NQ - 7)
        qvel += rng.normal(0.0, 1.0, NV)
        qvel[2] -= 1.0
    elif kind == "lying":
        peer = peer_at(qpos, qvel)
        for _ in range(200):
            peer.step(rng.uniform(-humanoid.ACTION_LIMIT, humanoid.ACTION_LIMIT, ACTION_SIZE))
        qpos, qvel = peer.data.qpos.copy(), peer.data.qvel.copy()
    elif kind == "jumping":
        qpos[2], qvel[2] = 1.6, rng.uniform(1.0, 3.0)
        qvel[6:] += rng.normal(0.0, 1.0, NV - 6)
    elif kind == "flung":
        qpos[3:7] = rng.normal(size=4)
        qvel = rng.normal(0.0, 5.0, NV)
        qvel[3:6] *= 2.0
    elif kind == "sunk":
        qpos[2] = rng.uniform(1.2, 1.3)
    elif kind == "far":  # where an episode of a fast runner ends, at its speed
        qpos[0], qvel[0] = 80.0, 5.0
    else:
        assert kind == "standing", kind
    qpos[3:7] /= np.linalg.norm(qpos[3:7])
    return qpos, qvel


def peer_at(qpos: Float[np.ndarray, "24"], qvel: Float[np.ndarray, "23"]) -> Any:
    """Gymnasium's Humanoid-v4, without its time limit, placed at a state."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Humanoid-v4 is out of date.*")
        peer = gymnasium.make("Humanoid-v4").unwrapped
    peer.reset(seed=0)
    mujoco.mj_resetData(peer.model, peer.data)  # type: ignore[attr-defined]
    peer.set_state(qpos.astype(np.float64), qvel.astype(np.float64))  # type: ignore[attr-defined]
    return peer


def gymnasium_steps(qpos: np.ndarray, qvel: np.ndarray, action: np.ndarray) -> Trajectory:
    """Gymnasium's own steps, going on where an episode would end."""
    worlds = []
    for i in range(len(qpos)):
        peer = peer_at(qpos[i], qvel[i])
        steps = [peer.step(a.astype(np.float64))[:3] for a in action[:, i]]
        worlds.append([np.asarray(x) for x in zip(*steps, strict=True)])
    obs, reward, terminated = (np.stack(x, 1) for x in zip(*worlds, strict=True))
    return Trajectory(obs, reward, terminated, np.zeros_like(terminated))


class CompiledOnce:
    """An engine whose step is compiled once, for use in and outside an environment."""

    def __init__(self, engine: Engine):
        self.name = engine.name
        self.start, self.step = jax.jit(engine.start), jax.jit(engine.step)


def engine_steps(engine: Engine, case: Case) -> Trajectory:
    """The engine under the task's functions, going on where an episode would end."""
    state, _ = engine.start(*map(jnp.asarray, case[1:3]), jnp.ones(len(case.kind), jnp.bool_))
    rows = []
    for action in case.action:
        before = state.com_x
        state, reading, failed = engine.step(state, jnp.asarray(action))
        obs = humanoid.observe(state.qpos, state.qvel, reading)
        reward = humanoid.reward(before, state.com_x, jnp.asarray(action))
        rows.append((obs, reward, humanoid.terminated(state.qpos), failed))
    return Trajectory(*(np.stack(x) for x in zip(*rows, strict=True)))


def env_steps(env: envs.HumanoidEnv, case: Case) -> Trajectory:
    """The environment itself until every world of Gymnasium's has ended; rows after that differ."""
    state = env.reset(jax.random.key(0))
    state = env.set_state(state, jnp.asarray(case.qpos), jnp.asarray(case.qvel))
    rows = []
    for action in case.action[: episode_steps(case).max()]:
        state = env.step(state, jnp.asarray(action))
        rows.append((state.final_obs, state.reward, state.terminated, ~state.valid))
    return Trajectory(*(np.stack(x) for x in zip(*rows, strict=True)))


def episode_steps(case: Case) -> Int[np.ndarray, "N"]:
    """The step in which Gymnasium's episode ends by height, or all of them."""
    ends = case.gymnasium.terminated
    return np.where(ends.any(0), ends.argmax(0) + 1, len(ends))


def errors(
    ours: Trajectory, case: Case, until: Int[np.ndarray, "N"], kind: str
) -> dict[str, dict[str, float]]:
    """Of every field the largest error over the first `until` steps, and its largest magnitude."""
    world = np.array(case.kind) == kind
    row = (np.arange(len(ours.obs))[:, None] < until) & world
    both = [[t[: len(row)][row] for t in x] for x in (ours, case.gymnasium)]
    columns = [(name, 0, field) for name, field in FIELDS.items()]
    columns += [(name, i, slice(None)) for i, name in enumerate(Trajectory._fields) if i]
    result = {}
    for name, i, field in columns:
        a, b = (np.asarray(x[i].T[field], np.float64) for x in both)
        result[name] = {"error": float(abs(a - b).max()), "magnitude": float(abs(b).max())}
    return result


def steps_to_diverge(ours: Trajectory, case: Case) -> list[int | None]:
    """In every world the first step with a qpos error above `DIVERGED`; None where there is none.

    The position along x and y is not observed and not counted.
    """
    error = np.abs(ours.obs - case.gymnasium.obs)[..., FIELDS["qpos"]].max(-1) > DIVERGED
    return [int(world.argmax()) + 1 if world.any() else None for world in error.T]


def measure(name: str, case: Case) -> dict[str, Any]:
    """The report of one engine: errors by kind and horizon, and steps until divergence."""
    env = envs.make_env(len(case.kind), engine=name, physics="v4")
    env.engine = CompiledOnce(env.engine)
    free, episode, length = (
        engine_steps(env.engine, case),
        env_steps(env, case),
        episode_steps(case),
    )
    diverge = steps_to_diverge(free, case)
    report: dict[str, Any] = {}
    for kind in dict.fromkeys(case.kind):
        report[kind] = {str(h): errors(free, case, np.full_like(length, h), kind) for h in HORIZONS}
        report[kind]["episode"] = errors(episode, case, length, kind)
        of_kind = [i for i, k in enumerate(case.kind) if k == kind]
        report[kind]["episode_steps"] = length[of_kind].tolist()
        report[kind]["steps_to_diverge"] = [diverge[i] for i in of_kind]
    return report


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare engines with Gymnasium's Humanoid-v4, state by state."""

    engines: tuple[str, ...] = ("mujoco",)
    """Any of: mujoco mjx warp."""
    worlds: int = 4
    """Worlds per kind of state."""
    steps: int = 200
    """At least 20."""
    seed: int = 0
    json: Path | None = None
    """Where the report is written."""
    markdown: Path | None = None
    """Where the tables are written."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments, prog="python -m mjx_dm.parity")
    case = make_case(options.worlds, max(options.steps, max(HORIZONS)), options.seed)
    report: dict[str, Any] = {"machine": _machine(), "steps": len(case.action), "engines": {}}
    for name in options.engines:
        report["engines"][name] = measure(name, case)
        print(f"{name}: done", file=sys.stderr)
    tables = markdown(report)
    for path, text in ((options.json, json.dumps(report, indent=1)), (options.markdown, tables)):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.rstrip() + "\n")
    print(tables)
    return 0


def markdown(report: dict[str, Any]) -> str:
    """Two tables: the largest error of every field, and by kind of state how positions part."""
    engines: dict[str, dict[str, Any]] = report["engines"]
    label = {"1": "1 step", "20": "20 steps", "episode": "episodes"}
    cells = [(name, h) for name in engines for h in label]
    lines = [["field", "largest value", *(f"{name}, {label[h]}" for name, h in cells)]]
    for field in (*FIELDS, *Trajectory._fields[1:]):
        values = [[kind[h][field] for kind in engines[name].values()] for name, h in cells]
        worst = [f"{max(v['error'] for v in value):.0e}" for value in values]
        largest = max(v["magnitude"] for value in values for v in value)
        lines.append([field, f"{largest:.3g}", *worst])
    tables = [lines, [["state"]]]
    for name in engines:
        tables[1][0] += [f"{name}, qpos after 20 steps", f"{name}, steps until 1e-3"]
    for kind in KINDS:
        row = [kind]
        for engine in engines.values():
            steps = [s or report["steps"] + 1 for s in engine[kind]["steps_to_diverge"]]
            middle = int(np.median(steps))
            error = engine[kind]["20"]["qpos"]["error"]
            row += [f"{error:.0e}", str(middle) if middle <= report["steps"] else "more"]
        tables[1].append(row)
    for table in tables:
        table.insert(1, ["---"] + ["---:"] * (len(table[0]) - 1))
    return "\n\n".join("\n".join(f"| {' | '.join(line)} |" for line in t) for t in tables)


def _machine() -> dict[str, Any]:
    names = ("jax", "mujoco", "mujoco-mjx", "warp-lang", "gymnasium", "numpy")
    installed = {d.metadata["Name"] for d in metadata.distributions()}
    return {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {n: metadata.version(n) for n in names if n in installed},
    }


if __name__ == "__main__":
    sys.exit(main())
