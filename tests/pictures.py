"""Small pictures in files and in memory, for tests of stored images."""

from io import BytesIO

import numpy as np
from PIL import Image

from zoo.data.images import ImageReader


def flat(colour, size=(8, 8), mode="RGB"):
    return Image.new(mode, size, colour)


def encoded(picture, kind="PNG", **options):
    """The bytes of its file."""
    buffer = BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def noise(seed, size):
    """A picture of any size in which no two neighbours are alike."""
    levels = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(levels)


def pixels(image, height, width):
    """A stored image, read alone."""
    return ImageReader([image]).pixels(image, height, width)
