"""Pictures to look at: single images, a grid of samples, and one before beside one after."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from zoo.run.moving import MOVING, STILL, Moving, Picture, combine, read, write
from zoo.storage.files import flush, replacing, writing

_SMALLEST_TILE = 64
GREY = 128
"""Of an image that is not there."""
GAP = 4
"""Pixels between tiles."""
_SHEET_TILE = 160
"""Pixels of the longer side of a video among others: a sheet of forty has many frames."""
_BACKGROUND, _INK = (255, 255, 255), (32, 32, 32)
_MOST_WAITING = 1 << 29
"""Bytes of images that wait to be written; a disk slower than the model holds it up."""


def levels(
    images: Float[Tensor, "n *frames 3 height width"],
) -> UInt8[Tensor, "n *frames 3 height width"]:
    """Images or videos in [0, 1] as 8 bits on the CPU."""
    if images.ndim == 4:
        return (images.detach().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    rounded = torch.empty(images.shape, dtype=torch.uint8)
    # One by one: another copy of many videos is more than memory may have.
    for i, video in enumerate(images):
        rounded[i] = levels(video)
    return rounded


def shrinks(images: Float[Tensor, "n *frames 3 h w"], longest: int = 0) -> bool:
    """Whether `thumbnails` of these are smaller than they are: of videos with a longer side."""
    return images.ndim == 5 and max(images.shape[-2:]) > (longest or _SHEET_TILE)


def thumbnails(
    images: Float[Tensor, "n *frames 3 h w"], longest: int = 0
) -> UInt8[Tensor, "n *frames 3 height width"]:
    """What a sheet shows of images: all; of videos frames of at most `longest` pixels a side.

    0 is the usual size.
    """
    if not shrinks(images, longest):
        return levels(images)
    height, width = images.shape[-2:]
    factor = (longest or _SHEET_TILE) / max(height, width)
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = [levels(adaptive_avg_pool2d(video.detach().float(), size)) for video in images]
    return torch.stack(small) if small else levels(images.new_zeros(0, *images.shape[1:3], *size))


class Writer:
    """Writes single images and videos in two threads, beside whatever the caller does."""

    def __init__(self) -> None:
        """The threads end with the `with` block, which waits for all files."""
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="pictures")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._num_bytes = 0

    def put(self, image: UInt8[Tensor, "*frames 3 height width"], path: Path, fps: float) -> None:
        """Starts writing one; `fps` is a video's.

        Raises:
            OSError: an earlier one could not be written.
        """
        self._waiting.append((self._threads.submit(_save_one, image, path, fps), image.nbytes))
        self._num_bytes += image.nbytes
        while self._waiting and (self._waiting[0][0].done() or self._num_bytes > _MOST_WAITING):
            self._wait_for_one()

    def finish(self) -> None:
        """Waits for all that were put.

        Raises:
            OSError: one could not be written.
        """
        while self._waiting:
            self._wait_for_one()

    def _wait_for_one(self) -> None:
        written, num_bytes = self._waiting.popleft()
        self._num_bytes -= num_bytes
        written.result()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        # After an error what was put is still written: a user may have waited long for it.
        self._threads.shutdown()


def _save_one(image: UInt8[Tensor, "*frames 3 height width"], path: Path, fps: float) -> None:
    # Of thousands none is waited for until it is on the disk.
    with writing(path), _replacing(single(image, fps), path):
        pass


def single(image: UInt8[Tensor, "*frames 3 height width"], fps: float) -> Picture:
    """An image as it is; a video at `fps` frames a second."""
    pixels = image.movedim(-3, -1).contiguous().numpy()
    if pixels.ndim == 3:
        return Image.fromarray(pixels)
    frames, height, width, _ = pixels.shape
    return Moving(lambda i: Image.fromarray(pixels[i]), frames, (width, height), fps)


def sheet(
    images: Float[Tensor, "n *frames 3 h w"] | UInt8[Tensor, "n *frames 3 h w"],
    columns: int,
    fps: float,
) -> Picture:
    """As `grid`; of videos one that moves, at `fps` frames a second."""
    if images.ndim == 4:
        return grid(images, columns)
    size = grid(images[:, 0], columns).size
    return Moving(lambda i: grid(images[:, i], columns), images.shape[1], size, fps)


def grid(
    images: Float[Tensor, "n 3 h w"] | UInt8[Tensor, "n 3 h w"],
    columns: int,
    *,
    scale: int | None = None,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """Images in rows of `columns`, a small gap between them.

    Values outside [0, 1] are clamped; NaN is black. Enlarging repeats pixels.

    Args:
        images: In [0, 1], or of 8 bits.
        columns: At least 1; the last row may be short.
        scale: How many times larger; None enlarges just enough for tiles of 64 pixels.
        labels: A heading of each column, cut to its width.

    Raises:
        ValueError: no image, `columns` or `scale` less than 1, or not a label a column.
    """
    if len(images) == 0 or columns < 1 or (scale is not None and scale < 1):
        raise ValueError(
            f"a grid of {len(images)} images, columns={columns}, scale={scale}; "
            "each must be at least 1"
        )
    if labels is not None and len(labels) != columns:
        raise ValueError(f"{len(labels)} labels for {columns} columns; give one a column or none")
    height, width = images.shape[2:]
    if scale is None:
        scale = max(1, math.ceil(_SMALLEST_TILE / min(height, width)))
    tile = (width * scale, height * scale)
    top = _heading_height(_heading_size(tile[0])) if labels else 0
    rows = math.ceil(len(images) / columns)
    sheet = Image.new(
        "RGB",
        (GAP + columns * (tile[0] + GAP), top + GAP + rows * (tile[1] + GAP)),
        _BACKGROUND,
    )
    pixels = images if images.dtype is torch.uint8 else levels(images.nan_to_num(0.0))
    for i, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        row, column = divmod(i, columns)
        corner = (GAP + column * (tile[0] + GAP), top + GAP + row * (tile[1] + GAP))
        sheet.paste(Image.fromarray(image).resize(tile, Image.Resampling.NEAREST), corner)
    for column, label in enumerate(labels or ()):
        _write(sheet, label, left=GAP + column * (tile[0] + GAP), width=tile[0])
    return sheet


def before_after(
    before: Picture, after: Picture, *, titles: tuple[str, str] = ("before", "after")
) -> Picture:
    """The two side by side under their titles, at their own sizes."""
    return combine([before, after], lambda both: _side_by_side(both, titles))


def _side_by_side(images: Sequence[Image.Image], titles: tuple[str, str]) -> Image.Image:
    size = _heading_size(min(image.width for image in images))
    top, gap = _heading_height(size), max(GAP, size // 2)
    sheet = Image.new(
        "RGB",
        (sum(image.width for image in images) + gap, top + max(image.height for image in images)),
        _BACKGROUND,
    )
    left = 0
    for image, title in zip(images, titles, strict=True):
        sheet.paste(image, (left, top))
        _write(sheet, title, left=left, width=image.width)
        left += image.width + gap
    return sheet


def suffix_of(picture: Picture) -> str:
    """How the name of its file ends."""
    return MOVING if isinstance(picture, Moving) else STILL


def save(picture: Picture, path: Path) -> None:
    """Writes a PNG file, or one that moves as its suffix says, whole or not at all.

    Folders are made. It is on the disk before its name is.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(path):
        with _replacing(picture, path) as temporary:
            flush(temporary)
        flush(path.parent)


@contextmanager
def _replacing(picture: Picture, path: Path) -> Iterator[Path]:
    """The picture in a file beside `path`, which takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if isinstance(picture, Moving):
            write(picture, temporary, path.suffix.lower())
        else:
            picture.save(temporary, format="PNG")
        yield temporary


def side_by_side(first: Path, second: Path, *, titles: tuple[str, str]) -> Picture:
    """One picture of two files' pictures.

    Raises:
        DamagedFileError: one of them cannot be read; names it.
    """
    return before_after(read(first), read(second), titles=titles)


def _heading_size(width: int) -> int:
    """The font's size in pixels, for a heading over so many."""
    return min(max(14, width // 20), 48)


def _heading_height(size: int) -> int:
    return size + size // 2


def _write(sheet: Image.Image, text: str, *, left: int, width: int) -> None:
    """A heading in the middle of its part of the strip at the top, cut where it is too long."""
    size = _heading_size(width)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(sheet)
    shown = text
    while shown and draw.textlength(shown, font=font) > width:
        shown = shown[:-2].rstrip("…") + "…" if len(shown) > 2 else ""
    middle = (left + width / 2, _heading_height(size) / 2)
    draw.text(middle, shown, fill=_INK, font=font, anchor="mm")
