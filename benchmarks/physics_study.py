"""What a cheaper physics costs in return: python benchmarks/physics_study.py RUN_DIR... --out FILE

Every policy is scored by its mean action under every variant of the model and under exact v4, and
every variant is timed in MuJoCo's C engine, on one core, on the same states and actions as v4, in
rounds that interleave the variants. Contacts, integrator, solver and line search vary one by one.
"""

import dataclasses
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import mujoco
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from mjx_dm.checkpoints.policy import Policy, load_policy
from mjx_dm.checkpoints.saving import CheckpointError
from mjx_dm.config import ConfigError
from mjx_dm.engines.mujoco import MujocoEngine
from mjx_dm.envs.batch import HumanoidEnv, make_env
from mjx_dm.evaluation import evaluate
from mjx_dm.files import write_json
from mjx_dm.tasks import humanoid
from mjx_dm.tasks.humanoid import FRAME_SKIP, Physics

RK4, EULER = mujoco.mjtIntegrator.mjINT_RK4, mujoco.mjtIntegrator.mjINT_EULER
IMPLICITFAST = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
PGS, NEWTON, CG = (
    mujoco.mjtSolver.mjSOL_PGS,
    mujoco.mjtSolver.mjSOL_NEWTON,
    mujoco.mjtSolver.mjSOL_CG,
)

VARIANTS = {
    "v4: RK4, PGS 50": Physics(RK4, PGS, 50, 50),
    "RK4, Newton 10/20": Physics(RK4, NEWTON, 10, 20),
    "Euler, PGS 50": Physics(EULER, PGS, 50, 50),
    "Euler, Newton 10/20": Physics(EULER, NEWTON, 10, 20),
    "Euler, Newton 4/8": Physics(EULER, NEWTON, 4, 8),
    "Euler, Newton 4/4": Physics(EULER, NEWTON, 4, 4),
    "Euler, Newton 3/4": Physics(EULER, NEWTON, 3, 4),
    "Euler, Newton 2/4": Physics(EULER, NEWTON, 2, 4),
    "Euler, Newton 1/4": Physics(EULER, NEWTON, 1, 4),
    "Euler, CG 8/8": Physics(EULER, CG, 8, 8),
    "implicitfast, Newton 4/8": Physics(IMPLICITFAST, NEWTON, 4, 8),
    "Euler, Newton 4/8, legs": Physics(EULER, NEWTON, 4, 8, contacts="legs"),
    "Euler, Newton 2/4, legs": Physics(EULER, NEWTON, 2, 4, contacts="legs"),
    "Euler, Newton 4/8, floor": Physics(EULER, NEWTON, 4, 8, contacts="floor"),
    "Euler, Newton 1/4, floor": Physics(EULER, NEWTON, 1, 4, contacts="floor"),
    "Euler, Newton 1/4, feet": Physics(EULER, NEWTON, 1, 4, contacts="feet"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """Score policies under cheaper physics and time each variant."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Runs whose newest policies are scored."""
    out: Path = Path("physics_study.json")
    episodes: int = 10
    seed: int = 1000
    engines: tuple[str, ...] = ()
    """Engines in whose own fast physics the policies are scored too: mjx, warp."""
    rounds: int = 5
    """Timed passes over the recorded states, interleaved over the variants."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = tyro.cli(Options, args=arguments)
    try:
        if not options.out.parent.is_dir():
            raise ConfigError(f"--out {options.out}: there is no folder {options.out.parent}.")
        if not options.run_dirs:
            raise ConfigError("give the run directory of at least one policy.")
        policies = {str(path): load_policy(path) for path in options.run_dirs}
    except (ConfigError, CheckpointError) as error:
        print(f"physics_study.py: {error}", file=sys.stderr)
        return 2
    models = {name: humanoid.load_model(physics) for name, physics in VARIANTS.items()}
    exact = models["v4: RK4, PGS 50"]
    states = _walk(next(iter(policies.values())), exact, options.seed)
    speed = _speed(models, states, options.rounds)
    rows = []
    for name, model in models.items():
        env = HumanoidEnv(MujocoEngine(model, options.episodes), options.episodes)
        scores = {run: score(policy, env, options.seed) for run, policy in policies.items()}
        rows.append({"variant": name, "speed": speed[name], "scores": scores})
        print(name, scores, flush=True)
    report = {"episodes": options.episodes, "seed": options.seed, "rows": rows, "engines": {}}
    for engine in options.engines:
        env = make_env(options.episodes, engine, "fast")
        report["engines"][engine] = {
            run: score(policy, env, options.seed) for run, policy in policies.items()
        }
        print(engine, report["engines"][engine], flush=True)
    write_json(options.out, report)
    _show(rows)
    return 0


def score(policy: Policy, env: HumanoidEnv, seed: int) -> dict[str, float]:
    """The mean action's return over one episode a world, from the same starts for every physics."""
    step = jax.jit(env.step)
    state = jax.jit(env.reset)(jax.random.key(seed))
    total, live = np.zeros(env.num_envs), np.ones(env.num_envs, bool)
    while live.any():
        state = step(state, policy.act(np.asarray(state.obs)))
        total[live] += np.asarray(state.reward)[live]
        live &= ~np.asarray(state.terminated | state.truncated)
    return {"mean": float(total.mean()), "std": float(total.std())}


def _walk(policy: Policy, model: mujoco.MjModel, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(integration state, action) of every step of one episode under exact physics."""
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    kind = mujoco.mjtState.mjSTATE_INTEGRATION

    def record(_: int, data: mujoco.MjData) -> None:
        state = np.empty(mujoco.mj_stateSize(model, kind))
        mujoco.mj_getState(model, data, state, kind)
        steps.append((state, data.ctrl.copy()))

    evaluate.evaluate(policy.act, episodes=1, seed=seed, on_step=record)
    return steps


def _speed(
    models: dict[str, mujoco.MjModel], states: list[tuple[np.ndarray, np.ndarray]], rounds: int
) -> dict[str, dict[str, float]]:
    """Environment steps per second on one core, and the ratio to v4, median over the rounds."""
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    rates: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            data = mujoco.MjData(model)
            start = time.perf_counter()
            for state, ctrl in states:
                mujoco.mj_setState(model, data, state, kind)
                data.ctrl[:] = ctrl
                mujoco.mj_step(model, data, nstep=FRAME_SKIP)
            rates[name].append(len(states) / (time.perf_counter() - start))
    exact = rates["v4: RK4, PGS 50"]
    return {
        name: {
            "steps_per_second": statistics.median(rate),
            "times_v4": statistics.median(a / b for a, b in zip(rate, exact, strict=True)),
        }
        for name, rate in rates.items()
    }


def _show(rows: list[dict[str, Any]]) -> None:
    runs = list(rows[0]["scores"])
    table = Table("variant", "times v4", *runs)
    for row in rows:
        scores = [f"{row['scores'][r]['mean']:.0f} ± {row['scores'][r]['std']:.0f}" for r in runs]
        table.add_row(row["variant"], f"{row['speed']['times_v4']:.2f}", *scores)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
