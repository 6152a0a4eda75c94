"""Pictures that move: drawn frame by frame when needed, and written as WebP, GIF or MP4."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from zoo.errors import one_line
from zoo.storage.files import ReadError, reading
from zoo.storage.json_data import DamagedFileError

STILL, MOVING, FILM = ".png", ".webp", ".mp4"
"""The ends of the names of pictures, of those that move, and of single videos where PyAV is."""

SUFFIXES = (STILL, MOVING, ".gif", FILM)
"""How a picture's name may end."""

GET_PYAV = "pip install 'diffusion-rl-zoo[video]'"

_QUALITY = 90
_MOST_PIXELS = 16383
"""Of a WebP file's side."""


@dataclass(frozen=True)
class Moving:
    """Frames of one size that are shown one after the other, again and again.

    `draw(i)` gives frame i, each time anew: what many large frames would take is not held.
    """

    draw: Callable[[int], Image.Image]
    num_frames: int
    size: tuple[int, int]
    fps: float

    @property
    def width(self) -> int:
        """In pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.size[1]

    def frames(self) -> Iterator[Image.Image]:
        """All of them in turn."""
        return map(self.draw, range(self.num_frames))


Picture = Image.Image | Moving
"""One that stands still, or one that moves."""


def combine(
    pictures: Sequence[Picture], draw: Callable[[Sequence[Image.Image]], Image.Image]
) -> Picture:
    """One picture of several, drawn of the frames of one time; the shorter ones begin again.

    It moves if one of them does, at the speed of the first that does.
    """
    moving = [picture for picture in pictures if isinstance(picture, Moving)]
    first = draw([_frame(picture, 0) for picture in pictures])
    if not moving:
        return first
    return Moving(
        lambda i: draw([_frame(picture, i) for picture in pictures]),
        max(picture.num_frames for picture in moving), first.size, moving[0].fps,
    )  # fmt: skip


def change(picture: Picture, draw: Callable[[Image.Image], Image.Image]) -> Picture:
    """The picture with each frame drawn anew."""
    return combine([picture], lambda frames: draw(frames[0]))


def _frame(picture: Picture, i: int) -> Image.Image:
    return picture.draw(i % picture.num_frames) if isinstance(picture, Moving) else picture


def read(path: Path, *, most: int | None = None) -> Picture:
    """A file's picture in red, green and blue; of one that moves at most `most` frames, evenly.

    Its frames are decoded when they are drawn, and those of a few files are held.

    Raises:
        DamagedFileError: it is no whole picture; names it.
        ReadError: nobody may read it here, say.
    """
    with _opened(path) as opened:
        num, first = getattr(opened, "n_frames", 1), opened.convert("RGB")
        milliseconds = opened.info.get("duration", 1000)
    if num == 1:
        return first
    step = 1 if most is None else math.ceil(num / most)
    changed = path.stat().st_mtime_ns
    return Moving(
        lambda i: _decoded(path, changed, step)[i], math.ceil(num / step), first.size,
        1000 / (milliseconds * step),
    )  # fmt: skip


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The file, which is named where it may not be read, or is no whole picture."""
    with reading(path):
        file = path.open("rb")
    try:
        with file, Image.open(file) as opened:
            yield opened
    except MemoryError:
        raise
    # Of broken bytes Pillow makes OSError, SyntaxError, EOFError, struct.error and more.
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise ReadError(path, error) from error
        raise DamagedFileError(path, one_line(error), "delete it to do without") from error


@lru_cache(maxsize=12)
def _decoded(path: Path, changed: int, step: int) -> list[Image.Image]:
    """Every so-manieth frame of a file as it was changed last."""
    frames = []
    with _opened(path) as opened:
        for i in range(0, getattr(opened, "n_frames", 1), step):
            opened.seek(i)
            frames.append(opened.convert("RGB"))
    return frames


def write(picture: Moving, path: Any, suffix: str) -> None:
    """To a file or a stream, of the kind that the suffix says.

    Raises:
        OSError: it cannot be written.
    """
    if suffix == FILM:
        _write_film(picture, path)
        return
    if suffix == MOVING and max(picture.size) > _MOST_PIXELS:
        width, height = picture.size
        raise OSError(
            f"a WebP file has at most {_MOST_PIXELS:,} pixels a side, not {width:,} x {height:,}; "
            "name a folder, or fewer prompts"
        )
    options = {"quality": _QUALITY} if suffix == MOVING else {}
    frames = picture.frames()
    next(frames).save(
        path, format=suffix[1:].upper(), save_all=True, append_images=frames,
        duration=max(1, round(1000 / picture.fps)), loop=0, **options,
    )  # fmt: skip


@cache
def can_film() -> bool:
    """Whether MP4 files can be written: PyAV is installed."""
    return find_spec("av") is not None


def _write_film(picture: Moving, path: Path) -> None:
    """H.264 in colours that every player knows, which are of even sizes.

    Raises:
        OSError: PyAV cannot write it.
    """
    import av

    try:
        _encode_film(picture, path)
    # A full disk, say, is told by its number.
    except OSError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise OSError(f"PyAV cannot write it: {error}") from error


def _encode_film(picture: Moving, path: Path) -> None:
    import av
    import numpy as np

    rate = Fraction(picture.fps).limit_denominator(1000)
    with av.open(str(path), "w", format="mp4") as file:
        stream: Any = file.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = (side + side % 2 for side in picture.size)
        for frame in picture.frames():
            pixels = np.asarray(frame.convert("RGB"))
            even = np.pad(pixels, [(0, n % 2) for n in pixels.shape[:2]] + [(0, 0)], mode="edge")
            file.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        file.mux(stream.encode())
