"""The task and the worlds that the settings of a run describe."""

from mjx_dm.config import Config
from mjx_dm.engines import Engine, make_engine
from mjx_dm.envs.batch import BatchEnv
from mjx_dm.tasks import get_task, loading, parse_options
from mjx_dm.tasks.task import Task


def task_of(config: Config) -> Task:
    """The task that the settings name; raises ConfigError where there is none such.

    A run that is resumed goes on with its own copy of a user's file.
    """
    name = config.task.task
    if config.run.resume:
        name = loading.kept(name, config.directory)
    return get_task(name, **parse_options(config.task.task_options))


def make_worlds(config: Config, engine: Engine | None = None, task: Task | None = None) -> BatchEnv:
    """`num_envs` worlds with the time limit of training, under `engine` where one is given.

    Otherwise under the one that the settings name, which must not be auto.
    """
    physics, task = config.physics, task or task_of(config)
    engine = engine or make_engine(task, physics.engine, physics.physics, physics.num_envs)
    return BatchEnv(task, engine, physics.num_envs, max_episode_steps=config.task.max_episode_steps)
