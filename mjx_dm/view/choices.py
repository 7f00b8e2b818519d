"""What there is to watch of a run, and the thread that loads what is chosen."""

import threading
from pathlib import Path

import numpy as np

from mjx_dm.checkpoints.manifest import CheckpointError, complete
from mjx_dm.checkpoints.policy import Policy, load_policy
from mjx_dm.view.simulation import Simulation

NEWEST, BEST, ONLY = "newest", "best", "the policy"


class Choices:
    """The policies of a run directory by name: the newest, the best, and each checkpoint that is
    kept; or the one policy of a folder or file of policy.json."""

    def __init__(self, path: Path) -> None:
        self.path = path
        folder = path / "checkpoints"
        is_policy = path.is_file() or (path / "policy.json").exists()
        self._checkpoints = None if is_policy else folder

    def names(self) -> list[str]:
        """What may be chosen now; a run that trains has more of it later."""
        if self._checkpoints is None:
            return [ONLY]
        best = [BEST] if (self.path / BEST / "policy.json").exists() else []
        steps = sorted(self._steps(), reverse=True)
        return ([NEWEST] if steps or not best else []) + best + [_named(step) for step in steps]

    def newest(self) -> int | None:
        """The env steps of the newest checkpoint."""
        return max(self._steps(), default=None)

    def named(self, text: str) -> str:
        """The name that `text` stands for: newest, best, a number of steps, or nothing for the
        first of `names`. Raises CheckpointError where there is no such policy."""
        names = self.names()
        name = _named(int(text)) if text.isdecimal() else text or names[0]
        if name not in names:
            raise CheckpointError(
                f"{self.path} has no policy of {name}; it has: {'; '.join(names)}."
            )
        return name

    def load(self, name: str) -> Policy:
        """Raises CheckpointError as load_policy does."""
        if name == BEST:
            return load_policy(self.path / BEST)
        if name in (NEWEST, ONLY):
            return load_policy(self.path)
        found = {_named(step): step for step in self._steps()}
        if name not in found:
            raise CheckpointError(f"The checkpoint of {name} is not kept any more.")
        return load_policy(self.path, step=found[name])

    def _steps(self) -> list[int]:
        if self._checkpoints is None:
            return []
        try:
            return list(complete(self._checkpoints))
        except CheckpointError:
            return []


def _named(step: int) -> str:
    return f"{step:,} steps"


class Switch:
    """Hands what is chosen to a simulation, which plays on while it is loaded and compiled.

    `chosen` is the name, `status` one sentence about it; where NEWEST is chosen, `poll` takes up
    every newer checkpoint.
    """

    def __init__(
        self, choices: Choices, simulation: Simulation, chosen: str, loaded: int | None = None
    ) -> None:
        """loaded: the env steps of the simulation's policy, which is that of `chosen`."""
        self.choices, self.simulation, self.chosen = choices, simulation, chosen
        self.status = ""
        self._done: tuple[str, int | None] = (chosen, loaded if chosen == NEWEST else None)
        self._thread: threading.Thread | None = None

    def choose(self, name: str) -> None:
        """From now on the policy of this name of `choices`."""
        self.chosen = name
        self.poll()

    def poll(self) -> None:
        """Begins to load what is chosen, where that is not loaded or being loaded."""
        if self._thread is not None and self._thread.is_alive():
            return
        wanted = (self.chosen, self.choices.newest() if self.chosen == NEWEST else None)
        if wanted != self._done:
            self._done = wanted
            self.status = f"Loading {self.chosen}."
            self._thread = threading.Thread(target=self._load, args=wanted, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is being loaded."""
        if self._thread is not None:
            self._thread.join()

    def _load(self, name: str, step: int | None) -> None:
        try:
            policy = self.choices.load(name)
            compile_for(policy)
        except CheckpointError as error:
            self.status = str(error)
            return
        self.simulation.use(policy)
        self.status = ""


def compile_for(policy: Policy) -> None:
    """Compiles what a simulation asks of a policy, before the first step waits for it."""
    obs = np.zeros(policy.spaces.obs_size, np.float32)
    policy.act(obs)
    policy.distribute(obs[None])
