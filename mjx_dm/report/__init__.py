"""The page of a run: what its directory holds, as one HTML file that asks nothing of a network.

It reads files alone, so that a run that trains, was killed or is another machine's has its page too:
python -m mjx_dm.report RUN_DIR.
"""
