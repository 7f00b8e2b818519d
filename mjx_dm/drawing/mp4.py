"""Files of frames: MP4 written and read with ffmpeg, and GIFs made of one."""

import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def encode(
    frames: Iterator[np.ndarray], path: Path, width: int, height: int, frames_per_second: float
) -> None:
    """Frames (H, W, 3) uint8 to an MP4 that every browser plays. Raises OSError."""
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {frames_per_second:.6f} -i -".split()
    coded = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-y"]
    with subprocess.Popen(
        [*_ffmpeg(), *raw, *coded, _file(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as ffmpeg:
        assert ffmpeg.stdin and ffmpeg.stderr, "both are pipes"
        try:
            for frame in frames:
                ffmpeg.stdin.write(frame.tobytes())
            said = ffmpeg.communicate()[1]
        except BrokenPipeError:
            said = ffmpeg.stderr.read()
    if ffmpeg.returncode:
        raise OSError(f"ffmpeg could not write {path}: {said.decode(errors='replace').strip()}")


def check() -> None:
    """Raises OSError where there is no ffmpeg."""
    _ffmpeg()


def small_gif(
    video: str | Path, out_gif: str | Path, *, width: int = 480, max_seconds: float = 6.0
) -> None:
    """Write the first seconds of an MP4 file as a looping GIF, in real time.

    Some 11 frames a second are kept, and 64 colours.
    """
    total, seconds = _length(video)
    every = max(1, round(total / seconds / 11))
    shown = min(total, max(1, round(max_seconds * total / seconds)))
    images = [
        Image.fromarray(frame).resize((width, round(width * frame.shape[0] / frame.shape[1])))
        for frame in read_frames(video, range(0, shown, every))
    ]
    first, *others = [image.quantize(64) for image in images]
    milliseconds = round(1000 * every * seconds / total)
    first.save(out_gif, save_all=True, append_images=others, duration=milliseconds, loop=0)


def read_frames(path: str | Path, chosen: Iterable[int] | None = None) -> np.ndarray:
    """Frames of a video file, in order: (T, H, W, 3) uint8. Raises OSError where it is none.

    chosen: the frames' numbers, from 0; all frames where it is None.
    """
    select = []
    if chosen is not None:
        select = ["-vf", "select=" + "+".join(rf"eq(n\,{i})" for i in sorted(set(chosen)))]
    pictures = ["-f", "image2pipe", "-c:v", "ppm", "-fps_mode", "passthrough", "-"]
    command = [*_ffmpeg(), "-i", _file(path), *select, *pictures]
    ffmpeg = subprocess.run(command, capture_output=True, check=False)
    if ffmpeg.returncode or not ffmpeg.stdout:
        raise OSError(f"{path} cannot be read as a video.")
    # A PPM picture is "P6\nWIDTH HEIGHT\n255\n" and its pixels; all are of one size.
    header = b"\n".join(ffmpeg.stdout.split(b"\n", 3)[:3]) + b"\n"
    width, height = map(int, header.split()[1:3])
    raw = np.frombuffer(ffmpeg.stdout, np.uint8).reshape(-1, len(header) + height * width * 3)
    return raw[:, len(header) :].reshape(-1, height, width, 3)


def _length(video: str | Path) -> tuple[int, float]:
    """Frames and seconds."""
    import imageio_ffmpeg

    return imageio_ffmpeg.count_frames_and_secs(_file(video))


def _ffmpeg() -> list[str]:
    """The start of its command line. imageio_ffmpeg's own readers and writers fork, and JAX, which
    the caller may have running, can deadlock in a fork; subprocess by itself spawns."""
    import imageio_ffmpeg  # 68 MB that only films need

    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise OSError(
            "there is no ffmpeg program: pip install imageio-ffmpeg brings one, and "
            "IMAGEIO_FFMPEG_EXE names another"
        ) from error
    return [program, "-nostdin", "-loglevel", "error"]


def _file(path: str | Path) -> str:
    """A path as ffmpeg takes it, which would read "run:2" as a protocol and "-o" as an option."""
    return f"file:{Path(path).absolute()}"
