"""Trains many learners at once on one device, alike in shape and different in seed or settings.

  python -m mjx_dm.population --out OUT.json --seeds 5
  python -m mjx_dm.population --out OUT.json --vary actor_lr=6e-4,1.5e-4 polyak=0.05,0.01

Up to four settings are tried in all combinations; of more, every one is tried at both values in a
resolution IV design of 16 learners (Box and Hunter 1961): main effects are means of 8 learners
against 8, free of the interactions of two settings. A vmapped launch costs a GPU little more than
one learner's, since small kernels leave it idle. Every learner's policy is scored as train.py
scores its own, in the task's CPU environment, while the others go on.
"""
