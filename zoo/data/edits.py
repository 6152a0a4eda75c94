"""Drawn pictures and how to change them: to try a model that edits or animates, without downloads.

A picture has one shape of a colour on a ground of another, as PNG in memory.
"""

from io import BytesIO
from itertools import product

from zoo.prompt import ImageBytes, Prompt

_SIDE = 256
_COLOURS = {
    "red": (210, 40, 40),
    "blue": (40, 70, 210),
    "green": (40, 160, 60),
    "yellow": (235, 200, 40),
}
_SHAPES = ("circle", "square", "triangle")
_GROUND = (235, 235, 235)


def training() -> list[Prompt]:
    """36: each shape of each colour is to get each of the others."""
    return [
        Prompt(
            f"make the {old} {shape} {new}",
            {"shape": shape, "from": old, "to": new},
            inputs=(_drawn(shape, old),),
        )
        for shape, old, new in product(_SHAPES, _COLOURS, _COLOURS)
        if old != new
    ]


def held_out() -> list[Prompt]:
    """12 of another kind: each shape of each colour is to be taken away."""
    return [
        Prompt(f"remove the {shape}", {"shape": shape, "from": old}, inputs=(_drawn(shape, old),))
        for shape, old in product(_SHAPES, _COLOURS)
    ]


def moving() -> list[Prompt]:
    """12 to animate: each shape of each colour is to move."""
    return [
        Prompt(f"the {old} {shape} moves to the right", inputs=(_drawn(shape, old),))
        for shape, old in product(_SHAPES, _COLOURS)
    ]


def _drawn(shape: str, colour: str) -> ImageBytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_SIDE, _SIDE), _GROUND)
    draw, box = ImageDraw.Draw(image), (64, 64, 192, 192)
    if shape == "circle":
        draw.ellipse(box, fill=_COLOURS[colour])
    elif shape == "square":
        draw.rectangle(box, fill=_COLOURS[colour])
    else:
        draw.polygon([(128, 64), (64, 192), (192, 192)], fill=_COLOURS[colour])
    file = BytesIO()
    image.save(file, "PNG")
    return ImageBytes(f"a {colour} {shape}", file.getvalue())
