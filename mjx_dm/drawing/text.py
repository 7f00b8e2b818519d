"""Lines of text on a frame."""

import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

INK, GROUND = (255, 255, 255, 255), (18, 26, 38, 165)
LINES_OF_A_FRAME = 26  # that would fill its height


def write_on(frame: UInt8[np.ndarray, "H W 3"], lines: Sequence[str]) -> UInt8[np.ndarray, "H W 3"]:
    """`frame` with a box of text in its upper left corner; a tab parts a name from its value."""
    if not lines:
        return frame
    left, top, right, bottom = box_of(frame.shape[0], frame.shape[1], lines)
    size, font = _size(frame.shape[0]), _font(_size(frame.shape[0]))
    picture = Image.fromarray(frame).convert("RGBA")
    layer = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    pen.rounded_rectangle((left, top, right, bottom), size // 3, GROUND)
    for number, line in enumerate(lines):
        name, _, value = line.partition("\t")
        y = top + size // 2 + number * _pitch(size)
        pen.text((left + size // 2, y), name, INK, font)
        if value:
            pen.text((right - size // 2, y), value, INK, font, anchor="ra")
    return np.asarray(Image.alpha_composite(picture, layer).convert("RGB"))


def box_of(height: int, width: int, lines: Sequence[str]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the box that write_on draws, in pixels."""
    size = _size(height)
    font = _font(size)
    parts = [line.partition("\t") for line in lines]
    names = max(font.getlength(name) for name, _, _ in parts)
    # As wide as the widest number may get, so that the box stays as it is.
    values = max(font.getlength("-00000.00") if tab else 0.0 for _, tab, _ in parts)
    left = top = size // 2
    right = left + size + round(names + values)
    return left, top, min(right, width - 1), top + size // 2 + len(parts) * _pitch(size) + size // 4


def _size(height: int) -> int:
    return max(9, height // LINES_OF_A_FRAME)


def _pitch(size: int) -> int:
    return round(1.35 * size)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
