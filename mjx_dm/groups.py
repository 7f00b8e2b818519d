"""The settings of a run, in groups, each with its range and what it may be. Imports no JAX."""

import dataclasses
import math

from mjx_dm.settings import setting

ENGINES = ("auto", "mujoco", "mjx", "warp")
PHYSICS = ("auto", "exact", "v4", "fast")
LEARNERS = ("density_matching", "sac")
# Whose environments are tasks too: --task brax:ant.
LIBRARIES = ("brax", "playground")
PROPOSALS = ("prior", "policy", "tilted")
ACTION_RULES = {
    "sample": "a sample",
    "mean": "mixture mean",
    "heaviest": "mean of the heaviest component",
    "best_component": "component mean with the highest Q",
    "best_of": "best of 16 samples by Q",
}
# The rules for a tanh Gaussian, in its words.
RULES_OF_TANH_GAUSSIAN = {
    "sample": "a sample",
    "mean": "tanh of the mean",
    "best_of": "best of 16 samples by Q",
}
DISTRIBUTIONS = ("mixture", "tanh_gaussian")
PRECISIONS = ("default", "tensorfloat32", "highest")
CRITICS = ("categorical", "scalar")
MIRROR = ("auto", "on", "off")
OBS_DTYPES = ("float32", "bfloat16")
ACTIVATIONS = ("relu", "silu")
LOGGERS = ("tensorboard", "wandb")


@dataclasses.dataclass(frozen=True)
class TaskSettings:
    """What is trained."""

    task: str = "Humanoid-v4"
    """Name of the task, --list-tasks shows all; or a Python file with a robot of your own,
    my_robot.py, or my_robot.py:NAME where it holds several; or brax:NAME or playground:NAME, an
    environment of Brax or of MuJoCo Playground."""
    task_options: tuple[str, ...] = ()
    """Options of the task, NAME=VALUE each, as Gymnasium's constructor of it has them:
    contact_cost_weight=0 "healthy_z_range=(0.3, 1.0)"; as Brax's constructor has them, or
    Playground's configuration: backend=spring, episode_length=500."""
    max_episode_steps: int | None = setting(None, above=0)
    """Time limit of an episode in training; the task's own if left out. Scores are over whole
    episodes under the task's own limit. 250 on --resume makes a run that is nearly done learn the
    way from standing into its gait, where good policies fall."""


@dataclasses.dataclass(frozen=True)
class PhysicsSettings:
    """How it is simulated."""

    engine: str = setting("auto", choices=ENGINES)
    """What simulates: mujoco (C, CPU), mjx (any device), warp (NVIDIA) or auto."""
    physics: str = setting("auto", choices=PHYSICS)
    """exact (or v4) is the robot's own integrator and solver, fast is Euler with Newton; auto takes
    fast where a policy is known to keep its return, as --list-tasks tells."""
    num_envs: int = setting(32, above=0)
    """Worlds that are simulated together."""
    threads: int | None = setting(None, above=0)
    """Threads of the engine mujoco; none for a thread per core that the process may use."""


@dataclasses.dataclass(frozen=True)
class ReplaySettings:
    """What is kept, and how it is learned from."""

    replay_size: int = setting(1_000_000, above=0, may_exceed_int32=True)
    """Transitions kept."""
    random_steps: int = setting(10_000, at_least=0)
    """Environment steps with uniform random actions before the first update."""
    updates_per_step: int = setting(1, above=0)
    """Updates of the critics and the policy after each step of all worlds."""
    batch_size: int = setting(256, above=0)
    """Transitions per update of the critics."""
    recency: float = setting(1.0, above=0)
    """How much more often what is new is drawn from the replay: at an age of u^recency of the
    oldest's, u uniform; 1 draws all alike, 3 half of a batch from the newest eighth."""
    mirror: str = setting("off", choices=MIRROR)
    """Every other transition of a batch is learned from with left and right exchanged: on, off, or
    auto, where the robot is its own mirror image."""
    num_steps: int = setting(1, above=0)
    """Steps of reward in the TD target before it bootstraps."""
    bootstrap_time_limits: bool = True
    """A time limit is not a death: bootstrap through it."""
    normalize_obs: bool = True
    """Networks see observations of mean 0 and variance 1, by the statistics of all so far."""
    obs_dtype: str = setting("float32", choices=OBS_DTYPES)
    """What observations are rounded to before anything sees them: float32, or bfloat16, which
    halves the replay."""
    normalize_reward: bool = False
    """Divide rewards, before they are scaled, by the running standard deviation of the discounted
    return, or by more where the largest return, or the mean reward for ever, would not fit below
    value_max."""


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """What the policy and the critics share."""

    activation: str = setting("silu", choices=ACTIVATIONS)
    """relu or silu."""
    layer_norm: bool = True
    """Normalise every hidden layer."""
    max_grad_norm: float = setting(10.0, above=0, may_be_infinite=True)
    """A gradient longer than this is shortened to it."""
    matmul_precision: str = setting("default", choices=PRECISIONS)
    """The learner's matrix products: default (JAX's own: float32 on a CPU, TensorFloat-32 on an
    NVIDIA GPU), tensorfloat32 or highest. Physics and the weighing of actions always run at the
    highest."""


@dataclasses.dataclass(frozen=True)
class PolicySettings:
    """Who learns, the policy's network, and of a mixture what it is fitted to."""

    learner: str = setting("density_matching", choices=LEARNERS)
    """density_matching fits a mixture to weighed actions; sac, the control, has a tanh Gaussian
    climb Q, with critics, replay and all else the same."""
    actor_widths: tuple[int, ...] = setting((256, 256, 256), above=0)
    """Units of each hidden layer."""
    actor_lr: float = setting(3e-4, above=0)
    """Learning rate."""
    actor_batch_size: int = setting(128, above=0)
    """States of the batch that the policy is fitted on."""
    actor_average: float = setting(5e-4, above=0, at_most=1)
    """Step of the policy that is scored towards the one that learns, in each of the latter's
    updates; 1 scores the latter."""
    num_components: int = setting(4, above=0)
    """K, the components of the mixture."""
    bounded: bool = True
    """Actions live in [-1, 1], means go through tanh; otherwise in the task's own units,
    unbounded."""
    log_std_min: float = -5.0
    """Lower bound of log sigma; sac's is of the Gaussian before the tanh."""
    log_std_max: float = 0.0
    """Upper bound of log sigma."""
    num_proposals: int = setting(8, above=0)
    """M, the actions weighed per state."""
    proposal: str = setting("policy", choices=PROPOSALS)
    """Where the M actions come from: prior (standard normal), policy, or tilted: the policy, each
    component moved along the critics' slope. The latter two are clipped to the box."""
    log_std_bonus: float = setting(0.0, at_least=0)
    """lambda of the published actor loss."""
    action_rule: str = setting("sample", choices=ACTION_RULES)
    """Behaviour and bootstrap action: a sample, the mixture's mean, the mean of the heaviest
    component, the component mean with the highest Q, or the best of 16 samples by Q."""


@dataclasses.dataclass(frozen=True)
class CriticSettings:
    """The twin critics. Q is in scaled reward."""

    critic_widths: tuple[int, ...] = setting((256, 256), above=0)
    """Units of each hidden layer."""
    critic_lr: float = setting(6e-4, above=0)
    """Learning rate."""
    discount: float = setting(0.98, above=0, at_most=1)
    """gamma."""
    polyak: float = setting(0.05, above=0, at_most=1)
    """Step of the target critic towards the critic: target <- (1-polyak) target + polyak critic."""
    polyak_every: int = setting(1, above=0)
    """Updates between two target steps."""
    critic: str = setting("categorical", choices=CRITICS)
    """categorical (the distribution of the return) or scalar (its mean)."""
    num_atoms: int = setting(101, above=1, at_most=100_000)
    """Atoms of the categorical critic."""
    atom_floor: float = setting(math.inf, above=0, may_be_infinite=True)
    """Nats by which an atom may start below the one at return 0; inf starts the critic as a bump of
    unit width, whose far atoms take thousands of updates to reach."""
    value_min: float = -20.0
    """Lower end of the categorical critic's support, in scaled reward."""
    value_max: float = 120.0
    """Upper end of the categorical critic's support, in scaled reward."""
    reward_scale: float = setting(0.1, above=0)
    """Scaled reward is so many times the environment's."""


@dataclasses.dataclass(frozen=True)
class TemperatureSettings:
    """How sharply actions are weighed, and what entropy is worth. In units of scaled reward."""

    temperature: float = setting(1.0, above=0)
    """T of the weights softmax(Q / T), or its start when ess_target is set."""
    ess_target: float | None = setting(0.5, above=0, at_most=1)
    """Move log T by 0.01 an update of the policy so that ESS / M stays here; none keeps T fixed."""
    alpha: float = setting(0.01, at_least=0)
    """Entropy coefficient, or its start when std_target is set, and always with sac."""
    std_target: float | None = setting(0.15, above=0)
    """Move log alpha so that the policy's mean standard deviation stays here; none keeps alpha."""
    alpha_step: float = setting(3e-4, above=0)
    """Step of log alpha in an update of the policy."""
    target_entropy: float = -1.0
    """Nats per dimension of the action where sac holds the policy's entropy, by alpha; uniform
    actions have log 2 = 0.69."""


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """How long it goes on, and what it leaves."""

    preset: str = "cpu"
    """Settings to start from: cpu, gpu, sample, published or smoke."""
    run_dir: str = ""
    """Where the run is written; runs/PRESET if left out."""
    resume: bool = False
    """Go on from the newest intact checkpoint in run_dir, with the settings saved there; a setting
    that is changed then is saved in their place."""
    init_from: str = ""
    """Begin with the policy of a run, a folder best or a policy.json: its actor and the statistics
    of its observations. It draws the random_steps; the critics begin anew, and learn alone for
    their first 5,000 updates."""
    seed: int = setting(0, power_of_2=32, may_exceed_int32=True)
    """Of everything that is drawn."""
    env_steps: int = setting(10_000_000, above=0, may_exceed_int32=True)
    """Environment steps in all, over all worlds."""
    minutes: float | None = setting(None, above=0, may_be_infinite=True)
    """Stop after so many minutes of training in all, if env_steps are not reached before."""
    chunk_iterations: int = setting(100, above=0)
    """Steps of all worlds, with their updates, in one launch of the program."""
    checkpoint_minutes: float = setting(2.0, above=0, may_be_infinite=True)
    """Minutes of training between checkpoints."""
    keep_checkpoints: int = setting(5, above=0)
    """The newest checkpoints that stay, beside that of the policy in best/."""
    save_replay: bool = True
    """Keep the replay when the run ends or is stopped (four bytes for every number of
    a transition), so that --resume goes on as if nothing had happened; without it the policy
    forgets at first."""
    replay_minutes: float | None = setting(30.0, above=0)
    """Minutes between copies of the replay while training goes on, of which a kill leaves the
    newest; none saves it at the end alone. Takes its size once more in memory and on the disk."""
    eval_every: int = setting(0, at_least=0, may_exceed_int32=True)
    """Environment steps between evaluations in the task; 0 evaluates at the end only."""
    eval_episodes: int = setting(10, above=0)
    """Episodes of an evaluation."""
    log: tuple[str, ...] = setting(("tensorboard",), choices=LOGGERS)
    """Where curves, scores and films go besides metrics.jsonl: tensorboard, which is always
    written, and wandb (Weights & Biases, the extra wandb; offline without a login)."""


@dataclasses.dataclass(frozen=True)
class HostSettings:
    """What it runs on. Worlds, replay and every batch are shared out over the devices."""

    devices: int | None = setting(None, above=0)
    """Devices that run it together; all that JAX finds if left out."""
    distributed: bool = False
    """This is one of several processes, on one or several hosts, that make up the run. Slurm, Open
    MPI and Kubernetes tell which; elsewhere give the three settings below. The run directory must
    lie where all of them see it."""
    coordinator: str = ""
    """HOST:PORT of the first process, a port that is free there."""
    process_id: int | None = setting(None, at_least=0)
    """Which of the processes this is, from 0 on."""
    num_processes: int | None = setting(None, above=0)
    """How many processes there are."""
