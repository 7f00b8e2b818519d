"""Films of a policy: episodes, walls of them, checkpoints side by side, many worlds at once."""
