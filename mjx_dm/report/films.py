"""Films and pictures of a run, inside the page while there is room, beside it otherwise."""

import base64
import os
import urllib.parse
from pathlib import Path
from typing import NamedTuple

from mjx_dm.films.naming import title_of

_FOLDERS = ("videos", "best/videos", "eval", "best/eval")
_TYPES = {
    ".mp4": "video/mp4", ".webm": "video/webm",
    ".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
}  # fmt: skip


class Medium(NamedTuple):
    """A file to be shown: its name, relative to the run, its words, and where the page finds it."""

    name: str
    words: str
    source: str
    is_film: bool
    is_inside: bool


class Room:
    """What may still be put into a page: `bytes` of files, each a third more as text."""

    def __init__(self, bytes: int) -> None:
        self.left = bytes

    def show(self, run_dir: Path, page: Path) -> list[list[Medium]]:
        """The films of a run, the newest first, each with its own pictures; then others, alone."""
        return [
            [self._medium(path, run_dir, page) for path in together] for together in _files(run_dir)
        ]

    def _medium(self, path: Path, run_dir: Path, page: Path) -> Medium:
        kind = _TYPES[path.suffix.lower()]
        name = str(path.relative_to(run_dir))
        title = title_of(path)
        words = name if title is None else title.words
        size = path.stat().st_size
        if size <= self.left:
            self.left -= size
            text = base64.b64encode(path.read_bytes()).decode()
            return Medium(name, words, f"data:{kind};base64,{text}", kind.startswith("video"), True)
        beside = os.path.relpath(path.resolve(), page.resolve().parent)
        link = urllib.parse.quote(Path(beside).as_posix())
        return Medium(name, words, link, kind.startswith("video"), False)


def _files(run_dir: Path) -> list[list[Path]]:
    found = [
        path
        for folder in _FOLDERS
        for path in sorted((run_dir / folder).glob("*"))
        if path.suffix.lower() in _TYPES and not path.name.startswith(".") and path.is_file()
    ]
    films = [path for path in found if _TYPES[path.suffix.lower()].startswith("video")]
    films.sort(key=lambda path: -path.stat().st_mtime)
    together = {film: [film] for film in films}
    for path in found:
        if path not in together:
            own = [film for film in films if film.parent == path.parent]
            film = next((film for film in own if path.stem.startswith(film.stem)), None)
            together.setdefault(film or path, []).append(path)
    return list(together.values())
