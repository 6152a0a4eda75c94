"""Pictures to look at: single images, a grid of samples, and one before beside one after."""

import math
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo.storage.files import replacing, writing

_SMALLEST_TILE = 64
GAP = 4
"""Pixels between tiles."""
_BACKGROUND, _INK = (255, 255, 255), (32, 32, 32)
_MOST_WAITING = 256
"""Images that wait to be written; a disk slower than the model holds it up."""


def stills(
    images: Float[Tensor, "n *frames 3 height width"],
) -> UInt8[Tensor, "n 3 height width"]:
    """Images in [0, 1] as 8 bits on the CPU; of a video its first frame."""
    first = images[:, 0] if images.ndim == 5 else images
    return (first.clamp(0, 1) * 255).round().to("cpu", torch.uint8)


class Writer:
    """Writes single images as PNG files in two threads, beside whatever the caller does."""

    def __init__(self) -> None:
        """The threads end with the `with` block, which waits for all files."""
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="pictures")
        self._waiting: deque[Future[None]] = deque()

    def put(self, image: UInt8[Tensor, "3 height width"], path: Path) -> None:
        """Starts writing one.

        Raises:
            OSError: an earlier one could not be written.
        """
        self._waiting.append(self._threads.submit(_save_still, image, path))
        while self._waiting and (self._waiting[0].done() or len(self._waiting) > _MOST_WAITING):
            self._waiting.popleft().result()

    def finish(self) -> None:
        """Waits for all that were put.

        Raises:
            OSError: one could not be written.
        """
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        # After an error what was put is still written: a user may have waited long for it.
        self._threads.shutdown()


def _save_still(image: UInt8[Tensor, "3 height width"], path: Path) -> None:
    save(Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()), path)


def grid(
    images: Float[Tensor, "n 3 h w"],
    columns: int,
    *,
    scale: int | None = None,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """Images in rows of `columns`, a small gap between them.

    Values outside [0, 1] are clamped; NaN is black. Enlarging repeats pixels.

    Args:
        images: In [0, 1].
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
    pixels = (images.detach().nan_to_num(0.0).clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    for i, image in enumerate(pixels.permute(0, 2, 3, 1).numpy()):
        row, column = divmod(i, columns)
        corner = (GAP + column * (tile[0] + GAP), top + GAP + row * (tile[1] + GAP))
        sheet.paste(Image.fromarray(image).resize(tile, Image.Resampling.NEAREST), corner)
    for column, label in enumerate(labels or ()):
        _write(sheet, label, left=GAP + column * (tile[0] + GAP), width=tile[0])
    return sheet


def before_after(
    before: Image.Image, after: Image.Image, *, titles: tuple[str, str] = ("before", "after")
) -> Image.Image:
    """The two side by side under their titles, at their own sizes."""
    size = _heading_size(min(before.width, after.width))
    top, gap = _heading_height(size), max(GAP, size // 2)
    sheet = Image.new(
        "RGB",
        (before.width + gap + after.width, top + max(before.height, after.height)),
        _BACKGROUND,
    )
    left = 0
    for image, title in zip((before, after), titles, strict=True):
        sheet.paste(image, (left, top))
        _write(sheet, title, left=left, width=image.width)
        left += image.width + gap
    return sheet


def save(image: Image.Image, path: Path) -> None:
    """Writes a PNG file, whole or not at all; folders are made.

    Raises:
        WriteError: it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            image.save(temporary, format="PNG")


def side_by_side(first: Path, second: Path, *, titles: tuple[str, str]) -> Image.Image:
    """One picture of two files' pictures."""
    with Image.open(first) as before, Image.open(second) as after:
        return before_after(before, after, titles=titles)


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
