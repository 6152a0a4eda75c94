"""A page as Markdown with its plots and pictures as files beside it, to be read on GitHub."""

import html
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from zoo.report.embed import WIDEST, shrunk
from zoo.report.page import (
    MISSING,
    WARNING,
    Block,
    Figure,
    Figures,
    Listing,
    Note,
    Page,
    Table,
    Tiles,
)
from zoo.report.plots import Drawing
from zoo.run.pictures import save
from zoo.storage.files import write_text

_GAP, _FONT = 4, 14
_PLOTS, _PICTURES = "plots", "pictures"


def write(page: Page, path: Path) -> None:
    """The page as a file; its `plots/*.png` and `pictures/*.png` beside it are written anew."""
    for name in (_PLOTS, _PICTURES):
        (path.parent / name).mkdir(exist_ok=True)
        for old in (path.parent / name).glob("*.png"):
            old.unlink()
    write_text(path, "\n\n".join(_page(page, path.parent)) + "\n")


def escaped(text: str) -> str:
    """Shown as it is, in one line."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", line)


def code(text: str) -> str:
    """A span of code, whatever is in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def _page(page: Page, folder: Path) -> Iterator[str]:
    yield f"# {escaped(page.title)}"
    yield escaped(page.about)
    for section in page.sections:
        yield f"## {escaped(section.title)}"
        yield f"made by: {code(page.source)}"
        for block in section.blocks:
            yield from _block(block, folder)


def _block(block: Block, folder: Path) -> Iterator[str]:
    match block:
        case Note(text, kind):
            said = {WARNING: "> **Warning:** ", MISSING: "> *Missing:* "}.get(kind, "")
            yield said + escaped(text)
        case Table():
            yield "\n".join(_table(block))
            if block.caption:
                yield escaped(block.caption)
        case Figures(figures):
            for figure in figures:
                yield f"![{escaped(figure.alt)}]({_saved(figure, folder)})"
                yield escaped(figure.caption)
        case Tiles():
            path = _free(folder / _PICTURES, block.name)
            save(sheet(block), path)
            yield f"![{escaped(block.caption)}]({_PICTURES}/{path.name})"
            columns = "; ".join(f"{i}: {each}" for i, each in enumerate(block.columns, 1))
            yield escaped(f"{block.caption} Columns: {columns}.")
        case Listing(title, text):
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            yield f"<details><summary>{html.escape(title)}</summary>"
            yield f"{fence}\n{text.rstrip()}\n{fence}"
            yield "</details>"


def _table(table: Table) -> Iterator[str]:
    width = max(map(len, table.rows), default=len(table.head))
    head = table.head or ("",) * width
    yield f"| {' | '.join(map(escaped, head))} |"
    rule = "---:" if table.numbers else "---"
    yield f"| {' | '.join(['---', *[rule] * (len(head) - 1)])} |"
    for row in table.rows:
        yield f"| {' | '.join(map(escaped, row))} |"


def _saved(figure: Figure, folder: Path) -> str:
    if isinstance(figure.content, Drawing):
        path = _free(folder / _PLOTS, figure.name)
        path.write_bytes(figure.content.png())
        return f"{_PLOTS}/{path.name}"
    path = _free(folder / _PICTURES, figure.name)
    save(shrunk(figure.content, WIDEST), path)
    return f"{_PICTURES}/{path.name}"


def _free(folder: Path, name: str) -> Path:
    """A path that is not taken: two names may come out alike."""
    for i in itertools.count(1):
        path = folder / (f"{name}.png" if i == 1 else f"{name}_{i}.png")
        if not path.exists():
            break
    return path


def sheet(tiles: Tiles) -> Image.Image:
    """The tiles in one picture: rows under their headings, columns numbered."""
    font = ImageFont.load_default(_FONT)
    most = max(64, WIDEST // max(1, len(tiles.columns)) - _GAP)
    rows = [[image and shrunk(image, most) for image in images] for _, images in tiles.rows]
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
