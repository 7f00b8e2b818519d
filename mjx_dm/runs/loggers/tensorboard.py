"""TensorBoard's event files, written in the thread that trains.

tensorboardX writes them in a thread of its own, which dies of a full disk, and whoever adds the
eleventh value after that waits for ever.
"""

import contextlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from mjx_dm.films.naming import tag_of

_FLUSH_SECONDS = 10.0


class TensorBoard:
    """The events of a run in `folder`, in one file, or in another after each fault of the disk.

    Steps from `purge_step` on that earlier files hold are void. Methods raise OSError where the
    disk does not take something, which is left out then.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self._folder, self._purge_step = folder, purge_step
        self._file: EventsWriter | None = None
        self._next_flush = time.monotonic()

    def scalars(self, step: int, values: Mapping[str, float | int], seconds: float | int) -> None:
        scalars = [Summary.Value(tag=name, simple_value=x) for name, x in values.items()]
        self._add(Event(step=step, wall_time=seconds, summary=Summary(value=scalars)))

    def film(self, step: int, path: Path) -> None:
        """As a GIF of its first seconds, which TensorBoard plays among the images."""
        from PIL import Image

        from mjx_dm.drawing import mp4

        with tempfile.TemporaryDirectory() as folder:
            gif = Path(folder) / "film.gif"
            mp4.small_gif(path, gif)
            with Image.open(gif) as opened:
                width, height = opened.size
            image = Summary.Image(
                height=height, width=width, colorspace=3, encoded_image_string=gif.read_bytes()
            )
        value = Summary.Value(tag=tag_of(path), image=image)
        self._add(Event(step=step, wall_time=time.time(), summary=Summary(value=[value])))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _add(self, event: Event) -> None:
        now = time.monotonic()
        try:
            self._file = self._file or self._open()
            self._file.write_event(event)
            if now >= self._next_flush:
                self._file.flush()
                self._next_flush = now + _FLUSH_SECONDS
        except OSError:
            file, self._file = self._file, None
            if file is not None:
                # Its buffer holds what the disk did not take, and would fail again.
                with contextlib.suppress(OSError):
                    file.close()
            raise

    def _open(self) -> EventsWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        # Files are named by the second: without a suffix, two within one overwrite.
        file = EventsWriter(str(self._folder / "events"), f".{time.time_ns()}")
        if self._purge_step is not None:
            start = SessionLog(status=SessionLog.START)
            file.write_event(Event(step=self._purge_step, wall_time=time.time(), session_log=start))
            self._purge_step = None
        return file
