import base64
import io
import random

import pytest
from PIL import Image

from zoo.report.embed import data_uri, shrink
from zoo.report.html import html
from zoo.report.page import Figure, Figures, Page, Section, Tiles


def noise(size: int, seed: int = 0) -> Image.Image:
    """The hardest there is to compress."""
    return Image.frombytes("RGB", (size, size), random.Random(seed).randbytes(size * size * 3))


def test_tiny_images_keep_every_pixel():
    image = noise(64)
    kind, _, text = data_uri(image).partition(",")
    assert kind == "data:image/png;base64"
    opened = Image.open(io.BytesIO(base64.b64decode(text)))
    assert opened.tobytes() == image.tobytes()


def test_photographs_are_made_smaller():
    assert data_uri(noise(512)).startswith("data:image/jpeg;base64,")
    assert shrink(noise(512), 100).size == (100, 100)
    assert shrink(noise(64), 100).size == (64, 64)


@pytest.mark.slow
def test_a_page_of_large_images_stays_below_five_megabytes():
    images = tuple(noise(512, i) for i in range(10))
    rows = tuple((f"epoch {i}", images) for i in range(8))
    tiles = Tiles("over_time", "noise", tuple(f"prompt {i}" for i in range(10)), rows)
    figures = Figures(tuple(Figure(f"f{i}", "noise", "noise", noise(2048, i)) for i in range(2)))
    page = Page("noise", "", "zoo report", (Section("a", "a", (tiles, figures)),))
    assert 100_000 < len(html(page)) < 5_000_000
