"""What a film is called: its file's name, and the words for it."""

import re
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(r"step_(\d+)_([a-z]+)(?:_seed_(\d+))?")
_WORDS = {
    "wall": "Wall of 16 episodes",
    "training": "The run's policies side by side",
    "worlds": "Training worlds",
}


class Title(NamedTuple):
    """kind: as of --film. env_steps: of the policy. seed: of the episode, where it is one."""

    kind: str
    env_steps: int
    seed: int | None = None

    @property
    def stem(self) -> str:
        """The name of the file, without its ending."""
        seed = "" if self.seed is None else f"_seed_{self.seed}"
        return f"step_{self.env_steps:012d}_{self.kind}{seed}"

    @property
    def words(self) -> str:
        """For people, as "Best episode (seed 1001), policy after 83,200 steps"."""
        what = _WORDS.get(self.kind, f"{self.kind.capitalize()} episode")
        seed = "" if self.seed is None else f" (seed {self.seed})"
        return f"{what}{seed}, policy after {self.env_steps:,} steps"


def title_of(path: Path) -> Title | None:
    """The title in the name of a film, or None where the name is another."""
    found = _NAME.fullmatch(path.stem)
    if found is None:
        return None
    steps, kind, seed = found.groups()
    return Title(kind, int(steps), None if seed is None else int(seed))


def tag_of(path: Path) -> str:
    """Under which a logger keeps a film, so that those of one policy stand side by side."""
    title = title_of(path)
    return "film" if title is None else f"film/{title.kind}"
