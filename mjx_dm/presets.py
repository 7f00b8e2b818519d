"""Whole sets of settings by name."""

from mjx_dm.config import Config, ConfigError, replace

_CPU = replace(
    Config(),
    preset="cpu",
    env_steps=10_000_000,
    eval_every=250_000,
    # 64 states take 0.83 of the time that 128 do on a CPU; what is new counts more, every other
    # transition is reflected and no sigma falls below 0.05, for an earlier start: docs/findings.md.
    actor_batch_size=64,
    recency=3.0,
    mirror="auto",
    log_std_min=-3.0,
)

PRESETS: dict[str, Config] = {
    "cpu": _CPU,
    "gpu": replace(
        _CPU,
        preset="gpu",
        env_steps=100_000_000,
        num_envs=1024,
        updates_per_step=16,
        random_steps=50_000,
        chunk_iterations=50,
        eval_every=5_000_000,
        actor_batch_size=128,
    ),
    # One recipe for any robot: docs/results.md. Rewards are on the scale of the return, so that
    # one support serves all; few worlds and many updates, since updates are what learning lacks.
    "sample": replace(
        _CPU,
        preset="sample",
        env_steps=1_000_000,
        num_envs=8,
        updates_per_step=4,
        eval_every=50_000,
        discount=0.99,
        normalize_reward=True,
        reward_scale=1.0,
        value_min=-5.0,
        value_max=5.0,
        atom_floor=8.0,
        alpha=0.001,
    ),
    "published": replace(
        Config(),
        preset="published",
        env_steps=1_000_000,
        physics="exact",
        num_envs=50,
        updates_per_step=50,
        batch_size=512,
        actor_batch_size=512,
        discount=0.99,
        polyak=0.005,
        polyak_every=50,
        actor_average=1.0,
        actor_lr=3e-4,
        critic_lr=3e-4,
        max_grad_norm=float("inf"),
        actor_widths=(256, 256),
        activation="relu",
        layer_norm=False,
        normalize_obs=False,
        num_components=32,
        num_proposals=64,
        proposal="prior",
        bounded=False,
        log_std_min=-4.0,
        log_std_max=2.0,
        ess_target=None,
        alpha=0.0,
        std_target=None,
        log_std_bonus=0.01,
        action_rule="best_component",
        critic="scalar",
        reward_scale=1.0,
        bootstrap_time_limits=False,
    ),
    "smoke": replace(
        _CPU,
        preset="smoke",
        env_steps=512,
        num_envs=8,
        random_steps=64,
        replay_size=1024,
        chunk_iterations=16,
        eval_every=0,
        eval_episodes=1,
        batch_size=32,
        actor_batch_size=16,
        actor_widths=(32, 32),
        critic_widths=(32, 32),
        num_components=2,
        num_proposals=4,
    ),
}


def preset_in(arguments: list[str], default: str) -> Config:
    """The settings that --preset names in `arguments`. Raises ConfigError where it is unknown."""
    name = default
    for i, argument in enumerate(arguments):
        if argument == "--preset" and i + 1 < len(arguments):
            name = arguments[i + 1]
        elif argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
    if name not in PRESETS:
        raise ConfigError(f"--preset {name} is unknown; choose from {', '.join(PRESETS)}.")
    return PRESETS[name]
