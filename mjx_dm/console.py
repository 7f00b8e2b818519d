"""The installed command, mjx-dm: one word for each program of this package. Imports no JAX."""

import importlib
import sys

from mjx_dm.ending import call, complain, leave, say

# The word -> where its program is, the name that it has from a clone, what it does.
PROGRAMS = {
    "train": ("mjx_dm.cli:train_main", "train.py", "train a policy"),
    "eval": ("mjx_dm.eval_cli:eval_main", "eval_render.py", "score a policy and film it"),
    "view": ("mjx_dm.view.__main__:main", "python -m mjx_dm.view", "watch a policy in a browser"),
    "report": ("mjx_dm.report.__main__:main", "python -m mjx_dm.report", "the page of a run"),
    "export": (
        "mjx_dm.export.__main__:main", "python -m mjx_dm.export", "a policy that acts without this",
    ),
    "bench": ("mjx_dm.bench.__main__:main", "python -m mjx_dm.bench", "measure this machine"),
    "population": (
        "mjx_dm.population.__main__:main", "python -m mjx_dm.population", "many learners at once",
    ),
    "demo": ("mjx_dm.demo:main", "make demo", "train on this machine, score and film the result"),
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs the program that the first word names with the rest of them; returns its exit status."""
    word, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if word in ("--help", "-h"):
        say("usage: mjx-dm COMMAND [OPTIONS]   (mjx-dm COMMAND --help lists them)\n")
        for name, (_, _, what) in PROGRAMS.items():
            say(f"  {name:12}{what}")
        return 0
    if word == "--version":
        from mjx_dm import __version__

        say(f"mjx-dm {__version__}")
        return 0
    if word not in PROGRAMS:
        return complain("mjx-dm", f"{word} is unknown; choose from {', '.join(PROGRAMS)}.", 2)
    place, name, _ = PROGRAMS[word]
    call(name, f"mjx-dm {word}")
    module, function = place.split(":")
    return getattr(importlib.import_module(module), function)(rest)


def run() -> None:
    """What `mjx-dm` is."""
    leave(main)


if __name__ == "__main__":
    run()
