"""Who is compared, in what, and what is not alike.

Contenders of one table take turns. `note` says what a reader has to know before he believes the
ratio beside it.
"""

import dataclasses

ENVPOOL = ("envpool==1.2.0",)
GYMNASIUM = ("gymnasium[mujoco]==1.4.0", "mujoco==3.17.0")
SBX = ("sbx-rl==0.28.0", "torch==2.13.0", "jax==0.10.2")
FLASHBAX = ("flashbax==0.1.3", "jax==0.10.2")
# Learners' batches and replays, and the sizes of Humanoid-v4.
BATCH, ROWS, SIZES = 256, 102_400, ("376", "17")


@dataclasses.dataclass(frozen=True)
class Contender:
    """A script of this folder with its arguments. packages: those of its own environment; none for
    this package's own, which runs where the comparison does."""

    table: str
    name: str
    unit: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    note: str = ""


def contenders(num_envs: int, gym_envs: int, threads: int) -> list[Contender]:
    """All of them, table by table, ours first.

    num_envs: worlds of ours and of EnvPool, and of a row of the replay. gym_envs: those of
    Gymnasium, of which each asynchronous one is a process. threads: EnvPool's.
    """
    found: list[Contender] = []
    n, batch, rows = str(num_envs), str(BATCH), str(ROWS)
    for task in ("Humanoid-v4", "Humanoid-v5", "Ant-v5"):
        unit = "env steps/s"
        found += [
            Contender(task, f"ours, {physics}", unit, ("ours.py", "worlds", task, physics, n))
            for physics in ("exact", "fast")
        ]
        pool = ("envpool_worlds.py", task, n)
        note = (
            "EnvPool steps in float64 with a MuJoCo of its own version and returns observations in "
            "float64; ours come in float32, and so does the state between steps. EnvPool resets a "
            "world in the step after its end, ours in the same. fast is Euler with Newton in "
            "place of the robot's own integrator and solver."
        )
        if task == "Humanoid-v4":
            note += " Its Humanoid-v4 leaves contact forces out: 84 observations are 0."
        half = "As above; batches of half of the worlds, as they come."
        found.append(Contender(task, "EnvPool", unit, (*pool, n, str(threads)), ENVPOOL, note))
        if task == "Humanoid-v4":
            halves = (*pool, str(max(num_envs // 2, 1)), str(threads))
            found.append(Contender(task, "EnvPool, asynchronous", unit, halves, ENVPOOL, half))
            for mode, name in (("sync", "SyncVectorEnv"), ("async", "AsyncVectorEnv")):
                command = ("gymnasium_worlds.py", task, str(gym_envs), mode)
                words = f"{gym_envs} worlds, float64, the reference for exact physics."
                found.append(Contender(task, f"Gymnasium {name}", unit, command, GYMNASIUM, words))
            words = "Ours without observations, rewards and resets, called from Python: a bound."
            bare = ("ours.py", "physics", n)
            found.append(Contender(task, "MuJoCo alone, exact", unit, bare, (), words))
    for name, label in (("sac", "ours, SAC"), ("cpu", "ours, preset cpu")):
        command = ("ours.py", "updates", name, batch, rows)
        found.append(Contender("updates", label, "updates/s", command))
    notes = {
        "SAC": "Equal batches, widths and activation in float32, twin scalar critics, Adam. ours "
        "also keeps a slow average of the policy and reports norms of gradients; its draws are "
        "made in the program, sbx's in NumPy. Preset cpu has a layer more in the policy, layer "
        "norm, critics of 101 atoms, 8 proposals for each of 64 states.",
        "CrossQ": "At the widths of the others, where its default is critics 1,024 wide; batch "
        "renormalisation, no target critic, a policy update every third.",
    }
    for name, note in notes.items():
        command = ("sbx_updates.py", name, batch, rows, *SIZES)
        found.append(Contender("updates", f"sbx {name}", "updates/s", command, SBX, note))
    for what in ("insert", "sample"):
        table, unit, given = f"replay, {what}", "transitions/s", (what, n, batch, rows)
        note = "Both hold an observation once, in float32, written and drawn from in a scan; ours "
        note += "also holds and returns which rows must not be learned from."
        if what == "sample":
            note += " flashbax returns the next step's action, reward and discount too."
        found.append(Contender(table, "ours", unit, ("ours.py", *given)))
        command = ("flashbax_replay.py", *given, *SIZES)
        found.append(Contender(table, "flashbax", unit, command, FLASHBAX, note))
    return found
