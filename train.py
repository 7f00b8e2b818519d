"""Train a policy: python train.py --preset cpu --run-dir runs/mine."""

from mjx_dm.cli import train_main as main
from mjx_dm.ending import leave

if __name__ == "__main__":
    leave(main)
