"""A page as one HTML file: no script, nothing from the network, pictures inside."""

import itertools
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL import Image

from zoo.report.embed import WIDEST, data_uri, pixelated, shrunk
from zoo.report.page import Figure, Page, Tiles
from zoo.report.plots import Drawing
from zoo.storage.files import write_text

_BESIDE = 640
"""Pixels that a picture beside another has at most: on a screen it is shown narrower."""


def html(page: Page) -> str:
    """The whole file. What is in the page is escaped; the same page gives the same text."""
    loader = jinja2.PackageLoader("zoo", "assets/report")
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, _, _ = loader.get_source(environment, "style.css")
    places = itertools.count()
    return environment.get_template("page.html").render(
        page=page,
        style=Markup(style),
        kind=lambda block: type(block).__name__,
        drawn=lambda figure: _drawn(figure, f"f{next(places)}"),
        tile=_tile,
    )


def write(page: Page, path: Path) -> None:
    """The page as a file, whole or not at all."""
    write_text(path, html(page))


def _drawn(figure: Figure, prefix: str) -> Markup:
    if isinstance(figure.content, Drawing):
        svg = figure.content.svg(prefix)
        label = Markup('<svg role="img" aria-label="{}"').format(figure.alt)
        return Markup(svg.replace("<svg", label, 1))
    image = shrunk(figure.content, WIDEST if figure.wide else _BESIDE)
    return _image(image, figure.alt)


def _tile(tiles: Tiles, row: int, column: int) -> Markup:
    heading, images = tiles.rows[row]
    image = images[column]
    if image is None:
        return Markup('<span class="none">none</span>')
    widest = max(96, WIDEST // max(1, len(tiles.columns)))
    return _image(shrunk(image, widest), f"{tiles.columns[column]}, {heading}")


def _image(image: Image.Image, alt: str) -> Markup:
    return Markup('<img src="{}" width="{}" height="{}" alt="{}"{}>').format(
        data_uri(image),
        image.width,
        image.height,
        alt,
        Markup(' class="pixels"') if pixelated(image) else "",
    )
