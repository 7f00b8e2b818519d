"""Score a policy in its task on the CPU and film its median episode.

python eval_render.py runs/demo --episodes 20
python eval_render.py runs/demo/best  # the one that scored best while it trained
"""

from mjx_dm.ending import leave
from mjx_dm.eval_cli import eval_main as main

if __name__ == "__main__":
    leave(main)
