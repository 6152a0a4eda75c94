"""Images as data URLs: what a chat request carries instead of a file."""

from base64 import b64encode
from dataclasses import dataclass
from io import BytesIO
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le


@dataclass(frozen=True)
class ImageOptions:
    """How images are sent.

    The longer side is made `size` pixels (bicubic, the aspect is kept), as they are with null.
    `quality` is the JPEG encoder's; PNG loses nothing.
    """

    format: Literal["png", "jpeg"] = "png"
    size: Annotated[int, Ge(1)] | None = 512
    quality: Annotated[int, Ge(1), Le(100)] = 95


def data_url(pixels: Any, options: ImageOptions) -> str:
    """One image, uint8 [height, width, 3], as `data:image/png;base64,...`."""
    from PIL import Image

    image = Image.fromarray(pixels)
    longer = max(image.size)
    if options.size is not None and longer != options.size:
        width, height = (max(1, round(side * options.size / longer)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    if options.format == "png":
        # Of a 512 px photo: 374 kB in 21 ms, level 6: 323 kB in 74 ms; the pixels are the same.
        image.save(buffer, format="PNG", compress_level=1)
    else:
        image.save(buffer, format="JPEG", quality=options.quality)
    return f"data:image/{options.format};base64,{b64encode(buffer.getvalue()).decode('ascii')}"
