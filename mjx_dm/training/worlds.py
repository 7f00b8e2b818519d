"""The task and the worlds that the settings of a run describe."""

from mjx_dm.config import Config
from mjx_dm.engines import Engine, make_engine
from mjx_dm.envs.batch import BatchEnv
from mjx_dm.envs.episodes import Worlds
from mjx_dm.envs.library import LibraryEnv
from mjx_dm.tasks import LibraryTask, any_task, get_task, loading, parse_options
from mjx_dm.tasks.task import Task


def task_of(config: Config) -> Task | LibraryTask:
    """The task that the settings name; raises ConfigError where there is none such.

    A run that is resumed goes on with its own copy of a user's file.
    """
    name = config.task.task
    if config.run.resume:
        name = loading.kept(name, config.directory)
    return any_task(name, **parse_options(config.task.task_options))


def robot_of(config: Config) -> Task:
    """The task, which must be one of this program's own or a user's and not another library's."""
    return get_task(config.task.task, **parse_options(config.task.task_options))


def make_worlds(config: Config, task: Task | LibraryTask | None = None) -> Worlds:
    """`num_envs` worlds with the time limit of training.

    This program's own tasks run under the engine that the settings name, which must not be auto.
    """
    task = task or task_of(config)
    if isinstance(task, LibraryTask):
        limit = config.task.max_episode_steps
        return LibraryEnv(task, config.physics.num_envs, max_episode_steps=limit)
    return make_batch(config, task)


def make_batch(config: Config, task: Task, engine: Engine | None = None) -> BatchEnv:
    """The worlds of a task of this program, under `engine` where one is given."""
    physics = config.physics
    engine = engine or make_engine(
        task, physics.engine, physics.physics, physics.num_envs, physics.threads
    )
    return BatchEnv(task, engine, physics.num_envs, max_episode_steps=config.task.max_episode_steps)
