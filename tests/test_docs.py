"""The Python in README.md and docs/environment.md runs as it stands there."""

import importlib.util
import re
from pathlib import Path
from textwrap import dedent

import jax
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/environment.md"])
def test_the_python_of_a_page_runs_from_top_to_bottom(page, capsys, monkeypatch):
    # One block gives it back to JAX, for Brax's trainers; it goes again with the test.
    monkeypatch.setattr(jax, "device_put_replicated", None, raising=False)
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", (ROOT / page).read_text(), re.S | re.M)
    assert blocks
    names: dict[str, object] = {}
    for block in blocks:
        if "stable_baselines3" in block and not importlib.util.find_spec("stable_baselines3"):
            continue
        exec(dedent(block), names)
    assert capsys.readouterr().out.strip()
