"""What films are to show, and how: a command line's settings, checked without loading JAX."""

from dataclasses import dataclass

KINDS = ("best", "median", "worst", "wall", "training", "worlds")
EPISODES = KINDS[:3]
WALL = 4  # tiles in a row and in a column
LARGEST = 7680  # pixels a side: what H.264 players take


@dataclass(frozen=True)
class FilmOptions:
    """Films."""

    film: tuple[str, ...] = ("median",)
    """What to film: the best, median or worst of the episodes; a wall of 16 of them; the run's
    checkpoints side by side (training); many worlds in one scene (worlds)."""
    width: int = 1280
    """Of the film, in pixels."""
    height: int = 720
    """Of the film, in pixels."""
    fps: float = 30.0
    """Frames a second."""
    seconds: float = 10.0
    """The film's length at most."""
    slow: float = 1.0
    """Slow motion: seconds of film for a second of the robot's."""
    camera: str | None = None
    """A camera of the model; by default one that follows the robot and is filled by it."""
    overlay: bool = False
    """Write time, speed, return and reward terms onto the film."""
    contacts: bool = False
    """Draw points and forces of contacts."""
    gif: bool = False
    """Write a small looping GIF beside every film."""
    film_worlds: int = 144
    """Worlds in the scene of --film worlds."""

    def problem(self) -> str | None:
        """One sentence about what is wrong, or None."""
        unknown = [x for x in self.film if x not in KINDS]
        if unknown or not self.film:
            given = unknown[0] if unknown else "nothing"
            return f"--film {given} is unknown; choose from {', '.join(KINDS)}."
        for name in ("width", "height"):
            pixels = getattr(self, name)
            if pixels % 2 or not 16 <= pixels <= LARGEST:
                return f"--{name} must be an even number from 16 to {LARGEST}, got {pixels}."
            if "wall" in self.film and pixels % WALL:
                return f"--film wall needs a --{name} that {WALL} divides, got {pixels}."
        for name, low, high in (("fps", 1, 240), ("seconds", 0.1, 3600), ("slow", 0.1, 100)):
            if not low <= getattr(self, name) <= high:
                return f"--{name} must lie in [{low}, {high}], got {getattr(self, name):g}."
        if not 2 <= self.film_worlds <= 1024:
            return f"--film-worlds must lie in [2, 1024], got {self.film_worlds}."
        return None

    @property
    def frames(self) -> int:
        """The longest film's."""
        return max(1, round(self.seconds * self.fps))

    @property
    def frames_per_second(self) -> float:
        """Frames for a second of the robot's."""
        return self.fps * self.slow
