"""Score a policy in its task on the CPU and film its median episode.

python eval_render.py runs/demo --episodes 20
python eval_render.py runs/demo/best  # the one that scored best while it trained
"""

import sys

from mjx_dm.cli import eval_main as main

if __name__ == "__main__":
    sys.exit(main())
