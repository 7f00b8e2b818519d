"""How exactly an engine is Gymnasium's Humanoid-v4: python -m mjx_dm.envs.parity.

The same states and actions go through an engine and through Gymnasium: for one step, for 20, and
through whole episodes of the environment. Reported is the largest error of every field.
"""

import dataclasses
import json
import os
import sys
import warnings
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import tyro
from jaxtyping import Bool, Float, Float32, Int

from mjx_dm.config import ConfigError
from mjx_dm.engines import Engine, choose_engine
from mjx_dm.envs import batch as envs
from mjx_dm.tasks import humanoid
from mjx_dm.types import ACTION_SIZE, NQ, NV, OBS_PARTS

KINDS = ("standing", "falling", "lying", "jumping", "flung", "sunk", "far")
HORIZONS = {"1": "1 step", "20": "20 steps", "episode": "episodes"}
DIVERGED = 1e-3  # of a position in m or rad, or of a quaternion's component


class Trajectory(NamedTuple):
    """What T steps of N worlds led to. `failed`: the engine itself says not to trust the row."""

    obs: Float[np.ndarray, "T N 376"]
    reward: Float[np.ndarray, "T N"]
    terminated: Bool[np.ndarray, "T N"]
    failed: Bool[np.ndarray, "T N"]


class Case(NamedTuple):
    """N worlds, and what Gymnasium made of them; `length` is the step that ends their episode."""

    kind: tuple[str, ...]
    qpos: Float32[np.ndarray, "N 24"]
    qvel: Float32[np.ndarray, "N 23"]
    action: Float32[np.ndarray, "T N 17"]
    gymnasium: Trajectory
    length: Int[np.ndarray, "N"]


def make_case(worlds: int, steps: int, seed: int = 0) -> Case:
    """`worlds` of each kind; every second one acts up to ±1, the others inside the box of ±0.4."""
    rng = np.random.default_rng(seed)
    kind = tuple(np.repeat(KINDS, worlds).tolist())
    starts = zip(*(make_state(k, rng) for k in kind), strict=True)
    qpos, qvel = (np.stack(x).astype(np.float32) for x in starts)
    limit = np.where(np.arange(len(kind)) % 2, 1.0, humanoid.ACTION_LIMIT)[:, None]
    action = (limit * rng.uniform(-1, 1, (steps, *limit.shape[:1], ACTION_SIZE))).astype(np.float32)
    theirs = gymnasium_steps(qpos, qvel, action)
    ends = np.concatenate([theirs.terminated[:-1], np.ones((1, len(kind)), bool)])
    return Case(kind, qpos, qvel, action, theirs, ends.argmax(0) + 1)


def make_state(
    kind: str, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "24"], Float[np.ndarray, "23"]]:
    """A random (qpos, qvel) of one of `KINDS`; draws from `rng`."""
    qpos, qvel = rng.uniform(-0.01, 0.01, NQ), rng.uniform(-0.01, 0.01, NV)
    qpos[2:4] += 1.4, 1.0
    if kind in ("falling", "lying"):  # random actions fell it; 3 s of them leave a heap
        peer = peer_at(qpos, qvel)
        for action in rng.uniform(-0.4, 0.4, (200, ACTION_SIZE)):
            peer.step(action)
            if kind == "falling" and peer.data.qpos[2] < 1.15:
                break
        qpos, qvel = peer.data.qpos.copy(), peer.data.qvel.copy()
    elif kind == "jumping":
        qpos[2], qvel[2] = 1.6, rng.uniform(1.0, 3.0)
        qvel[6:] += rng.normal(0.0, 1.0, NV - 6)
    elif kind == "flung":
        qpos[3:7], qvel = rng.normal(size=4), rng.normal(0.0, 5.0, NV)
        qvel[3:6] *= 2.0
    elif kind == "sunk":  # the feet in the floor
        qpos[2] = rng.uniform(1.23, 1.28)
    elif kind == "far":  # where a runner ends its episode, and as fast
        qpos[0], qvel[0] = 80.0, 5.0
    qpos[3:7] /= np.linalg.norm(qpos[3:7])
    return qpos, qvel


def peer_at(qpos: Float[np.ndarray, "24"], qvel: Float[np.ndarray, "23"]) -> Any:
    """Gymnasium's Humanoid-v4, without its time limit, placed at a state."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Humanoid-v4 is out of date.*")
        peer: Any = gymnasium.make("Humanoid-v4").unwrapped
    peer.reset(seed=0)
    mujoco.mj_resetData(peer.model, peer.data)
    peer.set_state(qpos.astype(np.float64), qvel.astype(np.float64))
    return peer


def gymnasium_steps(qpos: np.ndarray, qvel: np.ndarray, action: np.ndarray) -> Trajectory:
    """Gymnasium's own steps, going on where an episode would end."""
    peers = list(map(peer_at, qpos, qvel))
    rows = []
    for actions in action.astype(np.float64):
        row = (peer.step(a)[:3] for peer, a in zip(peers, actions, strict=True))
        rows.append([*map(np.stack, zip(*row, strict=True)), np.zeros(len(peers), bool)])
    return Trajectory(*map(np.stack, zip(*rows, strict=True)))


def engine_steps(engine: Engine, case: Case) -> Trajectory:
    """The engine under the task's functions, going on where an episode would end."""
    state, _ = engine.start(jnp.asarray(case.qpos), jnp.asarray(case.qvel))
    rows = []
    for action in jnp.asarray(case.action):
        before = state.com_x
        state, obs, failed = engine.step(state, action)
        reward = humanoid.reward(before, state.com_x, action)
        rows.append((obs, reward, humanoid.terminated(state.qpos), failed))
    return Trajectory(*map(np.stack, zip(*rows, strict=True)))


def env_steps(env: envs.HumanoidEnv, case: Case) -> Trajectory:
    """The environment, until every episode has ended; a world's rows after that are another's."""
    qpos, qvel = jnp.asarray(case.qpos), jnp.asarray(case.qvel)
    state = env.set_state(env.reset(jax.random.key(0)), qpos, qvel)
    rows = []
    for action in jnp.asarray(case.action[: case.length.max()]):
        state = env.step(state, action)
        rows.append((state.final_obs, state.reward, state.terminated, ~state.valid))
    return Trajectory(*map(np.stack, zip(*rows, strict=True)))


def measure(name: str, case: Case) -> dict[str, Any]:
    """One engine's errors by kind and horizon, and steps until the qpos error is `DIVERGED`.

    The observed qpos leaves out x and y. 0 steps: the whole trajectory stays together.
    """
    env = envs.make_env(len(case.kind), engine=name, physics="v4")
    engine = env.engine  # compiled once, for the environment and without it
    env.engine = SimpleNamespace(start=jax.jit(engine.start), step=jax.jit(engine.step), name=name)
    free, episode = engine_steps(env.engine, case), env_steps(env, case)
    qpos = np.abs(free.obs - case.gymnasium.obs)[..., : OBS_PARTS["qpos"]].max(-1)
    apart = np.where((qpos > DIVERGED).any(0), (qpos > DIVERGED).argmax(0) + 1, 0)
    report: dict[str, Any] = {}
    for kind in KINDS:
        worlds = np.array(case.kind) == kind
        report[kind] = {h: errors(free, case, worlds * int(h)) for h in list(HORIZONS)[:2]}
        report[kind]["episode"] = errors(episode, case, worlds * case.length)
        report[kind]["episode_steps"] = case.length[worlds].tolist()
        report[kind]["steps_until_apart"] = apart[worlds].tolist()
    return report


def errors(ours: Trajectory, case: Case, until: np.ndarray) -> dict[str, dict[str, float]]:
    """Every field's largest error, and largest value, over the first `until` (N,) steps."""
    row = np.arange(len(ours.obs))[:, None] < until

    def fields(trajectory: Trajectory) -> dict[str, np.ndarray]:
        obs, *others = (x[: len(row)][row].astype(np.float64) for x in trajectory)
        parts = np.split(obs, np.cumsum(list(OBS_PARTS.values()))[:-1], -1)
        return dict(zip((*OBS_PARTS, *Trajectory._fields[1:]), (*parts, *others), strict=True))

    return {
        name: {"error": float(np.abs(a - b).max()), "largest": float(np.abs(b).max())}
        for (name, a), b in zip(fields(ours).items(), fields(case.gymnasium).values(), strict=True)
    }


def markdown(report: dict[str, Any]) -> str:
    """Two tables: the largest error of every field, and by kind of state that of qpos."""
    engines, steps = report["engines"], report["options"]["steps"]
    columns = [(name, h) for h in HORIZONS for name in engines]
    by_field = [["field", "largest value", *(f"{name}, {HORIZONS[h]}" for name, h in columns)]]
    for field in (*OBS_PARTS, *Trajectory._fields[1:]):
        cells = [[kind[h][field] for kind in engines[name].values()] for name, h in columns]
        largest = max(x["largest"] for cell in cells for x in cell)
        worst = [f"{max(x['error'] for x in cell):.0e}" for cell in cells]
        by_field.append([field, f"{largest:.3g}", *worst])
    by_kind = [
        ["start", *(f"{n}, {t}" for t in ("qpos after 20", "steps to 1e-3") for n in engines)]
    ]
    for kind in KINDS:
        error = [f"{engine[kind]['20']['qpos']['error']:.0e}" for engine in engines.values()]
        apart = [[s or steps + 1 for s in e[kind]["steps_until_apart"]] for e in engines.values()]
        middle = [f"{m:.0f}" if (m := np.median(a)) <= steps else f"> {steps}" for a in apart]
        by_kind.append([kind, *error, *middle])
    for table in (by_field, by_kind):
        table.insert(1, ["---"] + ["---:"] * (len(table[0]) - 1))
    texts = [
        "\n".join(f"| {' | '.join(line)} |" for line in table) for table in (by_field, by_kind)
    ]
    return "\n\n".join(texts) + "\n"


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare engines with Gymnasium's Humanoid-v4, state by state."""

    engines: tuple[Literal["mujoco", "mjx", "warp"], ...] = ("mujoco",)
    worlds: int = 4
    """Worlds per kind of start."""
    steps: int = 200
    """At least 20."""
    seed: int = 0
    json: Path | None = None
    markdown: Path | None = None


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments, prog="python -m mjx_dm.envs.parity")
    try:
        for name in options.engines:
            choose_engine(name)
        if options.steps < 20 or options.worlds < 1:
            raise ConfigError("--steps must be at least 20 and --worlds at least 1.")
    except ConfigError as error:
        print(f"mjx_dm.envs.parity: {error}", file=sys.stderr)
        return 2
    case = make_case(options.worlds, options.steps, options.seed)
    names = {"jax", "mujoco", "mujoco-mjx", "warp-lang", "gymnasium", "numpy"}
    found = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    report = {
        "machine": {"device": jax.devices()[0].device_kind, "cores": os.cpu_count()},
        "versions": {name: found[name] for name in sorted(names & found.keys())},
        "options": {key: getattr(options, key) for key in ("worlds", "steps", "seed")},
        "engines": {name: measure(name, case) for name in options.engines},
    }
    texts = {options.json: json.dumps(report, indent=1) + "\n", options.markdown: markdown(report)}
    for path, text in texts.items():
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
