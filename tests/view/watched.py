"""A run of an untrained policy, written and not trained: two checkpoints, and a best."""

import json

import jax
import jax.numpy as jnp

from mjx_dm.checkpoints import saving as checkpoint
from mjx_dm.checkpoints.policy import keep_policy
from mjx_dm.config import Config, replace, to_json
from mjx_dm.learner import make_learner
from mjx_dm.tasks import any_task, get_task
from mjx_dm.training import normalisation

TASK = get_task("Hopper-v5")
CONFIG = replace(
    Config(), task="Hopper-v5", actor_widths=(8,), critic_widths=(8,), num_components=3
)


class Run:
    """A run directory, and how it gets another checkpoint."""

    def __init__(self, folder):
        self.folder = folder
        # A policy that looks at what it sees, with components apart.
        start = jax.jit(make_learner(CONFIG, TASK.spaces).init)(jax.random.key(0))
        actor = jax.tree.map(lambda x: 5.0 * x, start.average_actor)
        self.learner = start._replace(
            average_actor=actor, log_temperature=jnp.log(jnp.float32(0.05))
        )
        self.normalizer = normalisation.init((TASK.spaces.obs_size,))
        of_task = {"spaces": TASK.spaces._asdict(), "task_version": TASK.version}
        (folder / "config.json").write_text(json.dumps(to_json(CONFIG) | of_task))
        self.save(100)
        self.save(200)
        keep_policy(
            folder / "best", CONFIG, TASK.spaces, 150, actor, self.normalizer, TASK.version, 77.5
        )

    def save(self, step):
        state = {"learner": self.learner, "normalizer": self.normalizer}
        checkpoint.save(self.folder / "checkpoints", step, state)


def keep_untrained(folder, task_name):
    """The untrained policy of a task, in a folder of its own."""
    task, settings = any_task(task_name), replace(CONFIG, task=task_name)
    start = jax.jit(make_learner(settings, task.spaces).init)(jax.random.key(0))
    normalizer = normalisation.init((task.spaces.seen_size,))
    keep_policy(folder, settings, task.spaces, 1, start.actor, normalizer, task.version)
