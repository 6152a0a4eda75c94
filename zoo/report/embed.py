"""Pictures for pages: cut into tiles and put together, scaled down, and as a page holds them."""

import base64
import io

from PIL import Image, ImageDraw, ImageFont

from zoo.report.page import Tiles
from zoo.report.plots import Drawing
from zoo.run.pictures import GAP
from zoo.run.record import EvaluationRecord

WIDEST = 1200
"""Pixels that a picture on a page has at most."""

_GAP, _FONT = 4, 14
_QUALITY = 88
_PIXELATED = 128
"""Tiles smaller than this show their pixels: they were made by repeating them."""


def tiles(evaluation: EvaluationRecord) -> tuple[tuple[Image.Image, ...], ...] | None:
    """An evaluation's picture cut up: for each shown prompt its images from the top.

    None where the picture was deleted, or is not as the record says.
    """
    columns, rows = len(evaluation.shown_prompts), evaluation.shown_rows
    if evaluation.picture is None or columns < 1 or rows < 1:
        return None
    try:
        with Image.open(evaluation.picture) as opened:
            sheet = opened.convert("RGB")
    except OSError:
        return None
    width, over_x = divmod(sheet.width - GAP, columns)
    height, over_y = divmod(sheet.height - GAP, rows)
    width, height = width - GAP, height - GAP
    if over_x or over_y or width < 1 or height < 1:
        return None
    return tuple(
        tuple(
            sheet.crop((left, top, left + width, top + height))
            for top in range(GAP, sheet.height - GAP, height + GAP)
        )
        for left in range(GAP, sheet.width - GAP, width + GAP)
    )


def shrink(image: Image.Image, widest: int) -> Image.Image:
    """At most so many pixels wide; one that is smaller stays as it is."""
    if image.width <= widest:
        return image
    height = max(1, round(image.height * widest / image.width))
    return image.resize((widest, height), Image.Resampling.LANCZOS)


def shows_pixels(image: Image.Image) -> bool:
    """Whether to show it with sharp pixels where it is enlarged."""
    return max(image.size) < _PIXELATED


def data_uri(image: Image.Image) -> str:
    """The picture as text: PNG, or JPEG where that is smaller and no pixels are to be seen."""
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


def sheet(tiles: Tiles) -> Image.Image:
    """The tiles in one picture: rows under their headings, columns numbered."""
    font = ImageFont.load_default(_FONT)
    most = max(64, WIDEST // max(1, len(tiles.columns)) - _GAP)
    rows = [[image and shrink(image, most) for image in images] for _, images in tiles.rows]
    width = max((image.width for row in rows for image in row if image), default=64)
    line = _FONT + _FONT // 2
    height = sum(_height(row) + line for row in rows)
    across = max(
        [len(tiles.columns) * (width + _GAP), *(font.getlength(name) + 8 for name, _ in tiles.rows)]
    )
    picture = Image.new("RGB", (int(across) + 1, line + height), "white")
    draw = ImageDraw.Draw(picture)
    for column in range(len(tiles.columns)):
        draw.text((column * (width + _GAP), 2), str(column + 1), fill="#555555", font=font)
    top = line
    for (name, _), row in zip(tiles.rows, rows, strict=True):
        draw.text((0, top), name, fill="#111111", font=font)
        for column, image in enumerate(row):
            if image:
                picture.paste(image, (column * (width + _GAP), top + line - _GAP))
        top += line + _height(row)
    return picture


def _height(row: list[Image.Image | None]) -> int:
    return max((image.height for image in row if image), default=0)
