"""Train a policy: python train.py --preset cpu --run-dir runs/mine."""

from mjx_dm.cli import leave
from mjx_dm.cli import train_main as main

if __name__ == "__main__":
    leave(main())
