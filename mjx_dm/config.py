"""What a run is: frozen dataclasses and their file. Imports no JAX."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

ENGINES = ("auto", "mujoco", "mjx", "warp")
PHYSICS = ("v4", "fast")
PROPOSALS = ("prior", "policy", "broad", "moved")
ACTION_RULES = {
    "sample": "a sample",
    "mean": "mixture mean",
    "heaviest": "mean of the heaviest component",
    "best_component": "component mean with the highest Q",
    "best_of": "best of 16 samples by Q",
}
PRECISIONS = ("default", "bfloat16", "tensorfloat32", "highest")
CRITICS = ("categorical", "scalar")
OBS_DTYPES = ("float32", "bfloat16")
ACTIVATIONS = ("relu", "silu")


# What does not change the state's shapes or what the weights mean.
MAY_CHANGE_ON_RESUME = {
    "env_steps", "minutes", "engine", "chunk_iterations", "checkpoint_minutes", "keep_checkpoints",
    "save_replay", "eval_every", "eval_episodes", "matmul_precision", "max_episode_steps",
}  # fmt: skip


class ConfigError(ValueError):
    """One sentence: what is wrong, where, and what would be right."""


@dataclasses.dataclass(frozen=True)
class LearnerConfig:
    """The density-matching learner. Q, temperature and alpha are in scaled-reward units."""

    batch_size: int = 256
    """Transitions per update of the critics."""
    policy_delay: int = 1
    """Updates of the critics for each of the policy (Fujimoto et al. 2018)."""
    actor_batch_size: int = 128
    """States of the batch that the policy is fitted on."""
    recency: float = 1.0
    """How much more often what is new is drawn from the replay: at an age of u^recency of the
    oldest's, u uniform; 1 draws all alike, 3 half of a batch from the newest eighth."""
    mirror: bool = False
    """Every other transition of a batch is learned from with left and right exchanged."""
    discount: float = 0.98
    num_steps: int = 1
    """Steps of reward in the TD target before it bootstraps."""
    polyak: float = 0.05
    """Step of the target critic towards the critic: target <- (1-polyak) target + polyak critic."""
    polyak_every: int = 1
    """Updates between two target steps."""
    actor_average: float = 5e-4
    """Step of the policy that is scored towards the one that learns, in each of the latter's
    updates; 1 scores the latter."""
    average_worlds: float = 0.0
    """Share of the worlds in which the policy that is scored acts, so that the critic learns what
    that leads to; in the others the one that learns acts. Half is steadier and slower."""
    actor_lr: float = 3e-4
    critic_lr: float = 6e-4
    max_grad_norm: float = 10.0
    weight_decay: float = 0.0
    """Share of every weight that an update takes away, in learning rates (AdamW)."""
    actor_widths: tuple[int, ...] = (256, 256, 256)
    critic_widths: tuple[int, ...] = (256, 256)
    critic_residual: bool = False
    """Hidden layers of the critics after the first add to what they are given (equal widths)."""
    activation: str = "silu"
    layer_norm: bool = True
    normalize_obs: bool = True
    obs_dtype: str = "float32"
    """What observations are rounded to before anything sees them: float32, or bfloat16, which
    halves the replay."""
    num_components: int = 4
    """K, the components of the mixture."""
    num_proposals: int = 8
    """M, the actions weighed per state."""
    proposal: str = "policy"
    """Where the M actions come from: prior (standard normal), policy (clipped to the box), broad
    (the policy's and some of the whole box) or moved (the policy's, up the gradient of Q)."""
    broad_share: float = 0.1
    """Share of broad proposals that are uniform over the legal box."""
    importance_correction: bool = False
    """Divide the weights by the density of the proposals: fit exp(Q/T) whatever they come from."""
    move_kl: float = 0.1
    """How far moved proposals go: KL in nats, mean over states, between moved and policy."""
    subtract_score: bool = False
    """Fit log pi(proposals) - log pi(policy's own samples): the same gradient in the mean, with
    the noise of the samples taken out."""
    bounded: bool = True
    """Actions live in [-1, 1], means go through tanh; otherwise in v4 units, unbounded."""
    log_std_min: float = -5.0
    log_std_max: float = 0.0
    temperature: float = 1.0
    """T of the weights softmax(Q / T), or its start when ess_target is set."""
    ess_target: float | None = 0.5
    """Move log T by 0.01 an update of the policy so that ESS / M stays here; none keeps T fixed."""
    kl_target: float | None = None
    """Move log T so that the KL of the weights to even ones, in nats, stays here instead."""
    alpha: float = 0.01
    """Entropy coefficient, or its start when std_target is set."""
    std_target: float | None = 0.15
    """Move log alpha so that the policy's mean standard deviation stays here; none keeps alpha."""
    entropy_target: float | None = None
    """Move log alpha so that the entropy of the policy, in nats, stays here instead."""
    alpha_step: float = 3e-4
    """Step of log alpha in an update of the policy."""
    log_std_bonus: float = 0.0
    """lambda of the published actor loss."""
    weight_entropy: float = 0.0
    """What a nat of entropy of the mixture's weights is worth in the policy's objective; 0.3 keeps
    three of four components in use."""
    action_rule: str = "sample"
    """Behaviour and bootstrap action: a sample, the mixture's mean, the mean of the heaviest
    component, the component mean with the highest Q, or the best of 16 samples by Q."""
    critic: str = "categorical"
    num_atoms: int = 101
    value_min: float = -20.0
    value_max: float = 120.0
    """Support of the categorical critic, in scaled reward."""
    reward_scale: float = 0.1
    """Scaled reward is so many times the environment's."""
    normalize_reward: bool = False
    """Divide rewards, before they are scaled, by the running standard deviation of the discounted
    return, or by more where the largest return would not fit below value_max."""
    bootstrap_time_limits: bool = True
    """A time limit is not a death: bootstrap through it."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One training run."""

    preset: str = "cpu"
    """Settings to start from: cpu, gpu, published or smoke."""
    run_dir: str = ""
    """Where the run is written; runs/PRESET if left out."""
    resume: bool = False
    """Go on from the newest intact checkpoint in run_dir, with the settings saved there; a setting
    that is changed then is saved in their place."""
    seed: int = 0
    env_steps: int = 10_000_000
    """Environment steps in all, over all worlds."""
    minutes: float | None = None
    """Stop after so many minutes of training in all, if env_steps are not reached before."""
    engine: str = "auto"
    """What simulates: mujoco (C, CPU), mjx (any device), warp (NVIDIA) or auto."""
    physics: str = "fast"
    """v4 is Gymnasium's own integrator and solver; fast is Euler with Newton."""
    num_envs: int = 32
    max_episode_steps: int = 1000
    """Time limit of an episode in training; scores are over whole episodes of 1,000 steps. 250 on
    --resume makes a run that is nearly done learn the way from standing into its gait, where good
    policies fall."""
    random_steps: int = 10_000
    """Environment steps with uniform random actions before the first update."""
    updates_per_step: int = 1
    """Updates of the critics after each step of all worlds."""
    replay_size: int = 1_000_000
    """Transitions kept."""
    chunk_iterations: int = 100
    """Steps of all worlds, with their updates, in one launch of the program."""
    checkpoint_minutes: float = 2.0
    """Minutes of training between checkpoints."""
    keep_checkpoints: int = 5
    save_replay: bool = True
    """Keep the replay when the run ends or is stopped (1.6 GB per million transitions), so that
    --resume goes on as if nothing had happened; without it the policy forgets at first."""
    eval_every: int = 0
    """Environment steps between evaluations in Humanoid-v4; 0 evaluates at the end only."""
    eval_episodes: int = 10
    matmul_precision: str = "default"
    """The learner's matrix products: default (JAX's own: float32 on a CPU, TensorFloat-32 on an
    NVIDIA GPU), bfloat16 (faster on a CPU with AMX), tensorfloat32 or highest. Physics and the
    weighing of actions always run at the highest."""
    learner: Annotated[LearnerConfig, tyro.conf.arg(name="")] = LearnerConfig()

    @property
    def directory(self) -> Path:
        """The run directory."""
        return Path(self.run_dir or f"runs/{self.preset}")


def to_json(config: Config) -> dict[str, Any]:
    """The settings as JSON values."""
    return dataclasses.asdict(config)


def load(path: Path) -> Config:
    """Reads the `config.json` of a run. Raises ConfigError if it cannot be read."""
    try:
        raw = json.loads(path.read_text())
        learner = LearnerConfig(**_from_json(LearnerConfig, raw.pop("learner")))
        return Config(**_from_json(Config, raw), learner=learner)
    except (OSError, ValueError, OverflowError) as error:
        raise ConfigError(f"{path} is not the config.json of a run: {error}.") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'{path} is not the config.json of a run: it must hold settings and, as "learner", '
            "those of the learner."
        ) from error


# How JSON holds a setting of each type: in words, the types it has there, and the way back.
_IN_JSON: dict[Any, tuple[str, set[type], Callable[[Any], Any]]] = {
    bool: ("true or false", {bool}, bool),
    int: ("a whole number", {int}, int),
    float: ("a number", {int, float}, float),
    float | None: ("a number or null", {int, float, type(None)}, float),
    str: ("a string", {str}, str),
    tuple[int, ...]: ("a list of whole numbers", {list}, tuple),
}


def _from_json(holder: type, raw: dict[str, Any]) -> dict[str, Any]:
    """`raw` as settings of `holder`; raises ValueError where one is unknown or of another type."""
    types = {field.name: field.type for field in dataclasses.fields(holder)}
    settings = {}
    for name, value in raw.items():
        if name not in types:
            raise ValueError(f'"{name}" is not a setting')
        words, allowed, convert = _IN_JSON[types[name]]
        listed = value if isinstance(value, list) else ()
        if type(value) not in allowed or any(type(number) is not int for number in listed):
            raise ValueError(f'"{name}" is {json.dumps(value)} and must be {words}')
        settings[name] = None if value is None else convert(value)
    return settings
