"""Reads the images that come with prompts, and brings them to a policy's size."""

from io import BytesIO
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.prompt import ImageBytes, ImageCell, ImageFile, PromptError, StoredImage

if TYPE_CHECKING:
    from PIL import Image

BLANK = ImageBytes(
    "blank",
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
        "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
    ),
)
"""A grey pixel, where an image is needed and nothing is read from it."""


def pixels(image: StoredImage, height: int, width: int) -> Float[Tensor, "3 height width"]:
    """An image in [0, 1], float32, resized so that it covers the size and cut to its centre.

    Antialiased bicubic; an image of this size stays as it is. A transparent one is on white, one
    with an EXIF orientation is turned.

    Raises:
        PromptError: there is none, it is no image, or it is cut short.
    """
    from PIL import Image, ImageOps

    fitted = ImageOps.fit(_opened(image), (width, height), Image.Resampling.BICUBIC)
    # Copied: PIL's memory cannot be written to.
    levels = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8)
    return levels.reshape(height, width, 3).permute(2, 0, 1).float() / 255


def require_image(image: StoredImage) -> None:
    """Looks at the head of a file; what is in a table or in memory is seen when it is read.

    Raises:
        PromptError: there is no such file, or it is no image.
    """
    if not isinstance(image, ImageFile):
        return
    from PIL import Image

    try:
        with Image.open(image.path):
            pass
    except (OSError, Image.DecompressionBombError) as error:
        raise _unreadable(image, error) from None


def _opened(image: StoredImage) -> "Image.Image":
    """The picture, decoded to its end, turned upright, in red, green and blue."""
    from PIL import Image, ImageOps

    try:
        source = BytesIO(_encoded(image)) if not isinstance(image, ImageFile) else image.path
        with Image.open(source) as picture:
            return _rgb(ImageOps.exif_transpose(picture), image)
    # PIL raises SyntaxError and ValueError for some broken files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(image, error) from None


def _unreadable(image: StoredImage, error: Exception) -> PromptError:
    from PIL import UnidentifiedImageError

    if isinstance(error, PromptError):
        return error
    if isinstance(error, FileNotFoundError):
        return PromptError(f"the image file '{image}' does not exist")
    if isinstance(error, UnidentifiedImageError):
        return PromptError(f"'{image}' is no image that Pillow can read; remove it or mend it")
    said = " ".join(str(error).split())
    return PromptError(f"the image '{image}' cannot be read: {said}; remove it or mend it")


def _rgb(picture: "Image.Image", image: StoredImage) -> "Image.Image":
    from PIL import Image

    # Pillow's own conversion would clip what is outside of 0 to 255.
    if picture.mode == "F":
        raise PromptError(f"'{image}' has floating-point pixels; save it with 8 bits a channel")
    if picture.mode.startswith("I"):
        picture = picture.point(lambda level: level * (1 / 257), "L")
    if picture.has_transparency_data:
        above = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", above.size, "white"), above)
    return picture.convert("RGB")


def _encoded(image: ImageCell | ImageBytes) -> bytes:
    if isinstance(image, ImageBytes):
        return image.data
    value: Any = _cell(image)
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise PromptError(f"{image} holds no image; remove the row")
    return data


def _cell(image: ImageCell) -> object:
    """One value of a parquet file, for which one group of rows of one column is read."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(image.path) as file:
            group, first = 0, 0
            while first + file.metadata.row_group(group).num_rows <= image.row:
                first += file.metadata.row_group(group).num_rows
                group += 1
            column = file.read_row_group(group, columns=[image.column]).column(image.column)
            return column[image.row - first].as_py()
    except (OSError, pyarrow.ArrowException) as error:
        said = " ".join(str(error).split())
        raise PromptError(f"{image} cannot be read: {said}") from None
