"""A page as one HTML file: no script, nothing from the network, pictures inside."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from zoo.errors import visible
from zoo.report.embed import WIDEST, data_uri, shows_pixels, shrink, svg_uri
from zoo.report.page import Figure, Page, Tiles
from zoo.report.plots import Drawing
from zoo.report.templates import FOLDER, environment
from zoo.run.moving import Picture
from zoo.storage.files import write_text

_BESIDE = 640
"""Pixels that a picture beside another has at most: on a screen it is shown narrower."""


def html(page: Page, template: str = "page.html", **more: Any) -> str:
    """The whole file. What is in the page is escaped; the same page gives the same text.

    Another template may need `more` than the page.
    """
    return (
        environment(autoescape=True)
        .get_template(template)
        .render(page=page, style=Markup(asset("style.css")), figure=_figure, tile=_tile, **more)
    )


def asset(name: str) -> str:
    """A file beside the templates."""
    return files("zoo").joinpath(FOLDER, name).read_text("utf-8")


def write(page: Page, path: Path) -> None:
    """The page as a file, whole or not at all."""
    write_text(path, html(page))


def _figure(figure: Figure) -> Markup:
    if isinstance(figure.content, Drawing):
        return _image(svg_uri(figure.content), figure.content.size, figure.alt)
    return _picture(shrink(figure.content, WIDEST if figure.wide else _BESIDE), figure.alt)


def _tile(tiles: Tiles, row: int, column: int) -> Markup:
    heading, images = tiles.rows[row]
    image = images[column]
    if image is None:
        return Markup('<span class="none">none</span>')
    widest = max(96, WIDEST // max(1, len(tiles.columns)))
    return _picture(shrink(image, widest), f"{tiles.columns[column]}, {heading}")


def _picture(image: Picture, alt: str) -> Markup:
    return _image(data_uri(image), image.size, alt, pixels=shows_pixels(image))


def _image(uri: str, size: tuple[int, int], alt: str, *, pixels: bool = False) -> Markup:
    sharp = Markup(' class="pixels"') if pixels else ""
    return Markup('<img src="{}" width="{}" height="{}" alt="{}"{}>').format(
        uri, *size, visible(alt), sharp
    )
