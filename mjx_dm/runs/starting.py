"""What a run begins with: its program, compiled, and a new state or the one that was saved."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from mjx_dm import config as configs
from mjx_dm import device
from mjx_dm.config import Config, ConfigError
from mjx_dm.engines import choose_engine
from mjx_dm.envs.episodes import Worlds
from mjx_dm.records import METRICS, read_metrics, wall_seconds
from mjx_dm.runs import initial, kernels, memory
from mjx_dm.runs.clock import WallClock
from mjx_dm.runs.hosts import Hosts
from mjx_dm.runs.keeping import Keeper
from mjx_dm.tasks import LibraryTask
from mjx_dm.tasks.physics import name_of
from mjx_dm.tasks.task import Task
from mjx_dm.training import mesh as meshes
from mjx_dm.training.program import TrainState
from mjx_dm.validation import new_directory, of_learner

# Warp compiles its kernels when they are first launched, which takes a minute on a new machine.
COMPILE_AT_FIRST_LAUNCH = ("warp",)


def check_directory(config: Config) -> None:
    """Raises ConfigError where a new run's directory is taken, or a resumed run has none."""
    if not config.run.resume:
        new_directory(of_learner(config))
    elif not config.directory.is_dir():
        raise ConfigError(f"There is no run directory {config.directory} to resume.")


def simulation(config: Config, task: Task | LibraryTask) -> tuple[Config, str]:
    """The settings with the engine and the physics that `auto` stands for, and both in words."""
    if isinstance(task, LibraryTask):
        config = configs.replace(config, engine="auto", physics="auto")
        return config, f"Simulated by {task.simulation}"
    name, reason = choose_engine(config.physics.engine)
    physics = name_of(task, config.physics.physics)
    config = configs.replace(config, engine=name, physics=physics)
    return config, f"Engine {name} ({reason}), physics {physics}"


class Start:
    """Of the run of `config` on the devices of `mesh`; a resumed one goes on from what `keeper`
    finds. `clock` is told the time that it takes, and of the sessions before."""

    def __init__(
        self,
        config: Config,
        hosts: Hosts,
        mesh: Mesh,
        keeper: Keeper,
        clock: WallClock,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.hosts, self.mesh = config, hosts, mesh
        self.keeper, self.clock, self.say = keeper, clock, say
        self.train_seconds = 0.0

    def begin(
        self, env: Worlds, share: Config
    ) -> tuple[Callable[[TrainState], Any], TrainState, float]:
        """The program of a launch, the state, and for how many seconds it has been trained. `env`
        are the worlds of a device, and `share` its settings."""
        c = self.config
        init, advance, shapes = meshes.programs(share, env, self.mesh)
        # Before the compilation, so that a run that cannot go on says so at once.
        saved = self.hosts.first(lambda: self._read(shapes)) if c.run.resume else None
        policy = None if c.run.resume else initial.read(c, env.spaces)
        start = time.monotonic()
        # In NumPy, which several processes may all give to one program.
        seed = np.asarray(jax.random.key_data(jax.random.key(c.run.seed)))
        first = jax.jit(lambda seed: init(jax.random.wrap_key_data(seed)))
        late = c.physics.engine in COMPILE_AT_FIRST_LAUNCH
        with ThreadPoolExecutor() as pool:
            # All at once, each on a core: the kernels, the program and what makes the first state.
            apart = pool.submit(kernels.compile_apart, share) if late else None
            options = device.compiler_options()
            program = jax.jit(advance, donate_argnums=0).lower(shapes)
            compiling = pool.submit(program.compile, options)
            if late or saved is None:
                start_of = first.lower(seed).compile(options)
            chunk = compiling.result()
            if apart is not None and (wrong := apart.result()) is not None:
                self.say(wrong)
        needed = memory.plan(shapes, chunk, self.mesh.size)
        self.say(f"Memory: {needed}.")
        memory.check(c, needed, memory.available())
        if late:
            # On a state of its own, which goes again: the run's has not begun.
            jax.block_until_ready(chunk(start_of(seed)))
        state = start_of(seed) if saved is None else self.keeper.go_on(env, shapes, saved)
        if policy is not None:
            state = initial.begin(state, policy)
            self.say(f"Began with the policy of {c.run.init_from}; its critics begin anew.")
        state = meshes.place(state, shapes)
        jax.block_until_ready(state)
        seconds = time.monotonic() - start
        self.clock.spent("compilation and start", seconds)
        self.say(f"Compiled in {seconds:.0f} s.")
        return chunk, state, self.train_seconds

    def _read(self, shapes: TrainState) -> Any:
        """The newest checkpoint, if there is something left to do from there."""
        saved = self.keeper.read(shapes)
        step = self.keeper.last_saved
        if step >= self.config.run.env_steps:
            raise ConfigError(
                f"The run has reached {step} environment steps, and --env-steps asks for "
                f"{self.config.run.env_steps}; give more to go on."
            )
        self.train_seconds = float(saved.train_seconds)
        if out_of_time(self.config, self.train_seconds):
            raise ConfigError(
                f"The run has trained for {self.train_seconds / 60:.1f} minutes, and --minutes "
                f"asks for {self.config.run.minutes:g}; give more to go on."
            )
        try:
            self.clock.before = wall_seconds(read_metrics(self.config.directory / METRICS), step)
        except FileNotFoundError:
            pass  # the curve begins anew
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return saved


def out_of_time(config: Config, train_seconds: float) -> bool:
    """Whether that is all the training that --minutes asks for."""
    minutes = config.run.minutes
    return minutes is not None and train_seconds >= 60 * minutes
