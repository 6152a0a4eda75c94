"""Pictures for pages: cut into tiles and put together, scaled down, and as a page holds them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from zoo.report.page import Tiles
from zoo.report.plots import Drawing
from zoo.run import moving
from zoo.run.moving import Moving, Picture
from zoo.run.pictures import GAP
from zoo.run.record import EvaluationRecord
from zoo.storage.files import ReadError
from zoo.storage.json_data import DamagedFileError

WIDEST = 1200
"""Pixels that a picture on a page has at most."""

_MOST_FRAMES = 16
"""Of a picture that moves on a page, which holds many."""
_GAP, _FONT = 4, 14
_QUALITY = 88
_PIXELATED = 128
"""Tiles smaller than this show their pixels: they were made by repeating them."""


def read(path: Path) -> Picture | None:
    """A file's picture, of one that moves few frames; None where it cannot be read."""
    try:
        return moving.read(path, most=_MOST_FRAMES)
    except (DamagedFileError, ReadError):
        return None


def tiles(evaluation: EvaluationRecord) -> tuple[tuple[Picture, ...], ...] | None:
    """An evaluation's picture cut up: for each shown prompt its images from the top.

    None where the picture was deleted, or is not as the record says.
    """
    return _cut(evaluation.picture, len(evaluation.shown_prompts), evaluation.shown_rows)


def inputs(evaluation: EvaluationRecord) -> dict[str, Picture]:
    """What an evaluation's images were made from, by their prompts; nothing where there is none."""
    cut = _cut(evaluation.inputs, len(evaluation.shown_prompts), 1) or ()
    return {text: column[0] for text, column in zip(evaluation.shown_prompts, cut, strict=False)}


def _cut(path: Path | None, columns: int, rows: int) -> tuple[tuple[Picture, ...], ...] | None:
    """A sheet's tiles by column, if it is one of so many."""
    sheet = read(path) if path is not None and columns > 0 and rows > 0 else None
    if sheet is None:
        return None
    width, over_x = divmod(sheet.width - GAP, columns)
    height, over_y = divmod(sheet.height - GAP, rows)
    width, height = width - GAP, height - GAP
    if over_x or over_y or width < 1 or height < 1:
        return None
    return tuple(
        tuple(
            _crop(sheet, left, top, (width, height))
            for top in range(GAP, sheet.height - GAP, height + GAP)
        )
        for left in range(GAP, sheet.width - GAP, width + GAP)
    )


def _crop(sheet: Picture, left: int, top: int, size: tuple[int, int]) -> Picture:
    box = (left, top, left + size[0], top + size[1])
    if isinstance(sheet, Moving):
        # Nothing is decoded before it is shown.
        return replace(sheet, draw=lambda i: sheet.draw(i).crop(box), size=size)
    return sheet.crop(box)


def shrink(image: Picture, widest: int) -> Picture:
    """At most so many pixels wide; one that is smaller stays as it is."""
    return moving.change(image, lambda frame: _shrunk(frame, widest))


def _shrunk(image: Image.Image, widest: int) -> Image.Image:
    if image.width <= widest:
        return image
    height = max(1, round(image.height * widest / image.width))
    return image.resize((widest, height), Image.Resampling.LANCZOS)


def shows_pixels(image: Picture) -> bool:
    """Whether to show it with sharp pixels where it is enlarged."""
    return max(image.size) < _PIXELATED


def data_uri(image: Picture) -> str:
    """The picture as text: PNG, or JPEG where that is smaller and no pixels are to be seen.

    One that moves is WebP.
    """
    if isinstance(image, Moving):
        return _as_uri("webp", _encode_moving(image))
    kind, data = "png", _encode(image, "PNG")
    if not shows_pixels(image):
        kind, data = min(
            (kind, data), ("jpeg", _encode(image, "JPEG")), key=lambda form: len(form[1])
        )
    return _as_uri(kind, data)


def svg_uri(drawing: Drawing) -> str:
    """A drawing as text: in a document of its own, whose ids and styles no other drawing shares."""
    return _as_uri("svg+xml", drawing.svg())


def _as_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encode(image: Image.Image, form: str) -> bytes:
    out = io.BytesIO()
    plain = image.convert("RGB")
    if form == "PNG":
        plain.save(out, form, optimize=True)
    else:
        plain.save(out, form, quality=_QUALITY)
    return out.getvalue()


def _encode_moving(picture: Moving) -> bytes:
    out = io.BytesIO()
    moving.write(picture, out, moving.MOVING)
    return out.getvalue()


def sheet(tiles: Tiles) -> Picture:
    """The tiles in one picture: rows under their headings, columns numbered."""
    there = [image for _, images in tiles.rows for image in images if image is not None]

    def draw(frames: Sequence[Image.Image]) -> Image.Image:
        left = iter(frames)
        rows = [
            (name, [None if image is None else next(left) for image in images])
            for name, images in tiles.rows
        ]
        return _sheet(len(tiles.columns), rows)

    return moving.combine(there, draw)


def _sheet(
    num_columns: int, named: Sequence[tuple[str, Sequence[Image.Image | None]]]
) -> Image.Image:
    font = ImageFont.load_default(_FONT)
    most = max(64, WIDEST // max(1, num_columns) - _GAP)
    rows = [[image and _shrunk(image, most) for image in images] for _, images in named]
    width = max((image.width for row in rows for image in row if image), default=64)
    line = _FONT + _FONT // 2
    height = sum(_height(row) + line for row in rows)
    across = max([num_columns * (width + _GAP), *(font.getlength(name) + 8 for name, _ in named)])
    picture = Image.new("RGB", (int(across) + 1, line + height), "white")
    draw = ImageDraw.Draw(picture)
    for column in range(num_columns):
        draw.text((column * (width + _GAP), 2), str(column + 1), fill="#555555", font=font)
    top = line
    for (name, _), row in zip(named, rows, strict=True):
        draw.text((0, top), name, fill="#111111", font=font)
        for column, image in enumerate(row):
            if image:
                picture.paste(image, (column * (width + _GAP), top + line - _GAP))
        top += line + _height(row)
    return picture


def _height(row: list[Image.Image | None]) -> int:
    return max((image.height for image in row if image), default=0)
