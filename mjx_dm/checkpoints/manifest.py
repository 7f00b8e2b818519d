"""What makes a checkpoint trustworthy: a digest of each of its files, sealed and written last.

A folder is complete once it has a `manifest.json`, and intact while every file has the size and
the SHA-256 that stand in it::

    {"format": 1, "step": ..., "files": {name: {"bytes": ..., "sha256": ...}},
     "leaves": [{"path": ..., "shape": ..., "dtype": ..., "key_impl": ...}], "sha256": ...}

The last SHA-256 is the seal: that of all the rest.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mjx_dm.host import fsync

FORMAT_VERSION = 1
MANIFEST = "manifest.json"


class CheckpointError(Exception):
    """One clear sentence: what is wrong, where, and what would be right."""


class SaveError(CheckpointError):
    """A checkpoint could not be written."""


def write_manifest(folder: Path, step: int, leaves: list[dict[str, Any]]) -> None:
    """Vouches for all of `folder`, every byte of which is flushed to the disk first.

    Args:
        folder: the finished files of a checkpoint.
        step: env steps so far.
        leaves: path, shape, dtype and key_impl of each leaf, as JSON can hold them.

    Raises:
        OSError: a file cannot be read, or the manifest cannot be written.
    """
    inside = sorted(folder.rglob("*"))
    files = [x for x in inside if x.is_file()]
    body = {
        "format": FORMAT_VERSION,
        "step": step,
        "files": {x.relative_to(folder).as_posix(): _digest(x) for x in files},
        "leaves": leaves,
    }
    for path in inside:
        fsync(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({**body, "sha256": seal(body)}, indent=1) + "\n")
    fsync(manifest)
    fsync(folder)


def verify(path: str | os.PathLike) -> dict[str, Any]:
    """Checks every file of the checkpoint folder `path` against its manifest.

    Returns:
        The manifest: format, step, files (name -> sha256, bytes), leaves (path, shape, dtype).

    Raises:
        CheckpointError: names the first file that is missing, unreadable or different.
    """
    path = Path(path).absolute()
    manifest = _read_manifest(path)
    for name, expected in manifest["files"].items():
        try:
            found = _digest(path / name)
        except OSError as error:
            raise CheckpointError(
                f"Checkpoint {path} is damaged: its file {name} cannot be read ({brief(error)})."
            ) from error
        if found != expected:
            raise CheckpointError(
                f"Checkpoint {path} is damaged: its file {name} has {_in_words(found)} where the "
                f"manifest says {_in_words(expected)}."
            )
    return manifest


def complete(directory: Path) -> dict[int, Path]:
    """Step -> folder of the checkpoints in `directory` that reached their manifest."""
    if not directory.is_dir():
        return {}
    try:
        return {
            int(folder.name): folder
            for folder in directory.iterdir()
            if len(folder.name) == 12 and folder.name.isdecimal() and (folder / MANIFEST).is_file()
        }
    except OSError as error:
        raise CheckpointError(f"{directory} cannot be read ({brief(error)}).") from error


def find_verified(directory: str | os.PathLike, step: int | None) -> tuple[Path, dict[str, Any]]:
    """The newest complete checkpoint, or that of `step`, once it is found intact.

    Returns:
        Its folder and its manifest.

    Raises:
        CheckpointError: there is none, or it is damaged; the sentence then names the newest older
            step that is intact.
    """
    directory = Path(directory).absolute()
    found = complete(directory)
    if not found:
        raise CheckpointError(
            f"There is no complete checkpoint in {directory}: a run writes its first after "
            "some training."
        )
    if step is not None and step not in found:
        steps = ", ".join(map(str, sorted(found)))
        raise CheckpointError(
            f"There is no complete checkpoint of step {step} in {directory}: it holds {steps}."
        )
    chosen = max(found) if step is None else step
    try:
        return found[chosen], verify(found[chosen])
    except CheckpointError as error:
        raise CheckpointError(f"{str(error)[:-1]}; {_way_out(found, chosen)}.") from error


def seal(body: dict[str, Any]) -> str:
    """The SHA-256 of a manifest without its seal."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def brief(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    line = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def _way_out(found: Mapping[int, Path], damaged: int) -> str:
    for older in sorted((x for x in found if x < damaged), reverse=True):
        with contextlib.suppress(CheckpointError):
            verify(found[older])
            return f"step {older} is intact: remove the damaged folder to resume from there"
    return "no older checkpoint is intact, so the run has to start anew"


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        body = json.loads((path / MANIFEST).read_text())
        sealed, version = body.pop("sha256"), body["format"]
    except FileNotFoundError as error:
        raise CheckpointError(f"Checkpoint {path} is incomplete: it has no {MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"Checkpoint {path} is damaged: its file {MANIFEST} cannot be read ({brief(error)})."
        ) from error
    if sealed != seal(body):
        raise CheckpointError(
            f"Checkpoint {path} is damaged: its file {MANIFEST} does not match its own SHA-256."
        )
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"Checkpoint {path} has format {version}, and this version reads {FORMAT_VERSION}."
        )
    return body


def _digest(file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"bytes": stream.tell(), "sha256": digest}


def _in_words(digest: dict[str, Any]) -> str:
    return f"{digest['bytes']} bytes (SHA-256 {digest['sha256'][:12]}…)"
