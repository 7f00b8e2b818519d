"""Watching a policy: `python -m mjx_dm.view`, and its mixture: `python -m mjx_dm.view.mixture`."""
