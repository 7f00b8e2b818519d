"""A profiler trace of a few steps of the whole loop, for Perfetto or XProf."""

from pathlib import Path

import jax

from mjx_dm.bench.cases import loop_cases
from mjx_dm.bench.options import Options, loop_config
from mjx_dm.engines import choose_engine


def trace(options: Options, folder: Path) -> list[Path]:
    """Traces one launch of `options.steps` learning steps into `folder`, after one to warm up.

    The scopes physics, observe, insert, sample, critic and actor stand in the metadata of the
    program, which is in the .xplane.pb; on a CPU the Perfetto file names HLO operations only.

    Returns:
        The files written.

    Raises:
        OSError: the profiler left none.
    """
    engine = choose_engine(options.engines[0])[0]
    config = loop_config(options, engine, options.physics[0], options.num_envs[0])
    [case] = loop_cases(config, ("whole",))
    assert case.launch is not None
    state = jax.block_until_ready(case.launch(case.state))
    before = _files(folder)
    quiet = jax.profiler.ProfileOptions()
    quiet.python_tracer_level = 0  # or JAX's own Python drowns the program
    with jax.profiler.trace(str(folder), create_perfetto_trace=True, profiler_options=quiet):
        jax.block_until_ready(case.launch(state))
    written = sorted(_files(folder) - before)
    if not written:
        raise OSError(f"the profiler wrote nothing to {folder}")
    return written


def _files(folder: Path) -> set[Path]:
    kinds = ("*.xplane.pb", "perfetto_trace.json.gz")
    return {path for kind in kinds for path in folder.rglob(kind) if path.stat().st_size}
