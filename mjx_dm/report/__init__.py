"""The page of a run: what its directory holds, as one HTML file that asks nothing of a network.

It reads files alone, so that a run has its page while it trains, after it was killed, and on
another machine: python -m mjx_dm.report RUN_DIR.
"""
