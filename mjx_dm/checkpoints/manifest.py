"""What makes a checkpoint trustworthy: a digest of each of its files, sealed and written last.

A folder is complete once it has a `manifest.json`, and intact while every file has the size and
the SHA-256 that stand in it::

    {"format": 1, "step": ..., "files": {name: {"bytes": ..., "sha256": ...}},
     "leaves": [{"path": ..., "shape": ..., "dtype": ..., "key_impl": ...}], "sha256": ...}

The last SHA-256 is the seal: that of all the rest. It tells of damage, not of who wrote it: what a
manifest says is checked before it is acted on.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mjx_dm.files import read_json, regular_size
from mjx_dm.host import fsync

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MOST_STEPS = 10**18
# Twelve digits, so that they sort by name, and more where the step has more.
_FOLDER = re.compile("[0-9]{12}|[1-9][0-9]{12,17}")


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
            found = _digest(_inside(path, name), expected["bytes"])
        except (OSError, ValueError) as error:
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
            if _FOLDER.fullmatch(folder.name) and (folder / MANIFEST).is_file()
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
        return found[chosen], _verify_step(found, chosen)
    except CheckpointError as error:
        raise CheckpointError(f"{str(error)[:-1]}; {_way_out(found, chosen)}.") from error


def seal(body: dict[str, Any]) -> str:
    """The SHA-256 of a manifest without its seal."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def brief(error: BaseException) -> str:
    """The kind of an error and the first line of its text."""
    line = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__


def one_line(error: BaseException) -> str:
    """The sentence of an error that repeats what a stranger wrote, in print and not without end."""
    text = "".join(x if x.isprintable() else "?" for x in str(error))
    return text if len(text) < 1000 else f"{text[:1000]}…."


def _way_out(found: Mapping[int, Path], damaged: int) -> str:
    for older in sorted((x for x in found if x < damaged), reverse=True):
        with contextlib.suppress(CheckpointError):
            _verify_step(found, older)
            return f"step {older} is intact: remove the damaged folder to resume from there"
    return "no older checkpoint is intact, so the run has to start anew"


def _verify_step(found: Mapping[int, Path], step: int) -> dict[str, Any]:
    manifest = verify(found[step])
    if manifest["step"] != step:
        raise CheckpointError(
            f"Checkpoint {found[step]} is of step {manifest['step']}: its folder was renamed."
        )
    return manifest


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        body = read_json(path / MANIFEST)
        sealed, version = body.pop("sha256"), body["format"]
        own = seal(body)
    except FileNotFoundError as error:
        raise CheckpointError(f"Checkpoint {path} is incomplete: it has no {MANIFEST}.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"Checkpoint {path} is damaged: its file {MANIFEST} cannot be read ({brief(error)})."
        ) from error
    if sealed != own:
        raise CheckpointError(
            f"Checkpoint {path} is damaged: its file {MANIFEST} does not match its own SHA-256."
        )
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"Checkpoint {path} has format {json.dumps(version)[:40]}, and this version reads "
            f"{FORMAT_VERSION}."
        )
    if wrong := _wrong_with(body):
        raise CheckpointError(
            f"Checkpoint {path} cannot be read: its file {MANIFEST} {wrong}; save it anew."
        )
    return body


def _wrong_with(body: dict[str, Any]) -> str | None:
    """What a manifest of this format should not say, in words, if it says such a thing."""
    step, files, leaves = (body.get(name) for name in ("step", "files", "leaves"))
    if type(step) is not int or not 0 <= step < MOST_STEPS:
        return "tells no step"
    if not isinstance(files, dict) or not files:
        return "tells of no files"
    for name, digest in files.items():
        if not _is_inside(name):
            return f"names the file {name[:80]!r}, which is not inside the checkpoint"
        if (
            not isinstance(digest, dict)
            or digest.keys() != {"bytes", "sha256"}
            or type(digest["bytes"]) is not int
            or not isinstance(digest["sha256"], str)
        ):
            return f"does not tell the size and the SHA-256 of the file {name[:80]!r}"
    if not isinstance(leaves, list) or not leaves:
        return "tells of no leaves"
    return None


def _is_inside(name: str) -> bool:
    """Whether a name is a plain path below a folder, on every system."""
    plain = name.isprintable() and len(name) < 512 and not set("\\:") & set(name)
    return plain and not {"", ".", ".."} & set(name.split("/"))


def _inside(folder: Path, name: str) -> Path:
    """The file of that name, which no symbolic link may lead out of the folder."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ValueError("a symbolic link leads out of the checkpoint")
    return file


def _digest(file: Path, expected_bytes: int | None = None) -> dict[str, Any]:
    """The digest of a file; of one of another size than expected, the size alone is looked at."""
    size = regular_size(file)
    if expected_bytes not in (None, size):
        return {"bytes": size, "sha256": None}
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"bytes": stream.tell(), "sha256": digest}


def _in_words(digest: dict[str, Any]) -> str:
    sha256 = digest["sha256"]
    return f"{digest['bytes']} bytes" + (f" (SHA-256 {sha256[:12]}…)" if sha256 else "")
