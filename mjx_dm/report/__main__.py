"""The command: python -m mjx_dm.report RUN_DIR... [--out FILE]."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mjx_dm.config import ConfigError
from mjx_dm.ending import called, complain, leave
from mjx_dm.report.page import EMBED_MB, write_page

COMMAND = "python -m mjx_dm.report"


@dataclass(frozen=True)
class Options:
    """Write the page of a run, or of several side by side."""

    runs: tyro.conf.Positional[list[Path]]
    """Run directories. Those of one task share their charts, and those that differ in their seed
    alone a line with a band."""
    out: Path | None = None
    """The page; by default RUN_DIR/report.html of one run, compare.html of several."""
    embed_mb: float = EMBED_MB
    """MB of films and pictures that go into the page; what is over that is linked."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0 done, 1 not written, 2 bad input."""
    options = tyro.cli(Options, args=arguments, prog=called(COMMAND))
    if not options.runs:
        return complain(COMMAND, "give a run directory.", 2)
    out = options.out or (Path("compare.html") if len(options.runs) > 1 else None)
    try:
        print(f"Page: {write_page(options.runs, out, embed_mb=options.embed_mb)}")
    except ConfigError as error:
        return complain(COMMAND, str(error), 2)
    except OSError as error:
        return complain(COMMAND, f"the page is not written: {error.filename}: {error.strerror}.", 1)
    return 0


if __name__ == "__main__":
    leave(main)
