"""Tests run on the CPU, with the shapes in the annotations checked.

Tests marked gpu keep whatever device the machine has: `pytest -m gpu`.
"""

import os

import pytest


def pytest_configure(config):
    expression = config.getoption("markexpr", "") or ""
    if "gpu" in expression.replace("not gpu", ""):
        return
    # Before anything imports jax.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    from jaxtyping import install_import_hook

    install_import_hook("mjx_dm", "beartype.beartype")
    # A missing dimension is then an error where it happens, not a silent outer product.
    jax.config.update("jax_numpy_rank_promotion", "raise")
    # Most of a test's time is compilation.
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def broadcasts():
    """Brax and MJX rely on rank promotion, which these tests otherwise forbid; a run scores in a
    thread of its own, which a context would not reach."""
    import jax

    jax.config.update("jax_numpy_rank_promotion", "allow")
    yield
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module")
def rail():
    """The toy of `toys`, registered as brax:rail."""
    from brax import envs
    from toys import Rail

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(envs._envs, "rail", Rail)
        yield
