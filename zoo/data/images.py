"""Images that belong to prompts: found beside a file or in a table, and read when needed."""

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from zoo.errors import join_lines
from zoo.prompt import ImageBytes, ImageCell, ImageFile, Prompt, PromptError, StoredImage

if TYPE_CHECKING:
    from PIL import Image


class ImageReader:
    """Reads images that are known beforehand, of a parquet file each group of rows once.

    The encoded images of such a group are held from its reading until each has been asked for.
    """

    def __init__(self, images: Iterable[StoredImage]) -> None:
        """Reads none yet; `images` are those that will be asked for."""
        self._cells: dict[Path, set[ImageCell]] = defaultdict(set)
        for image in images:
            if isinstance(image, ImageCell):
                self._cells[image.path].add(image)
        self._held: dict[ImageCell, object] = {}

    def pixels(
        self, image: StoredImage, height: int, width: int
    ) -> Float[Tensor, "3 height width"]:
        """An image in [0, 1], float32, resized so that it covers the size and cut to its centre.

        Antialiased bicubic; an image of this size stays as it is. A transparent one is on white,
        one with an EXIF orientation is turned.

        Raises:
            PromptError: there is none, it is no image, or it is cut short.
        """
        from PIL import Image, ImageOps

        picture = _decode(image, self._source(image))
        fitted = ImageOps.fit(picture, (width, height), Image.Resampling.BICUBIC)
        # Copied: PIL's memory cannot be written to.
        levels = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8)
        return levels.reshape(height, width, 3).permute(2, 0, 1).float() / 255

    def _source(self, image: StoredImage) -> Path | BytesIO:
        """What Pillow opens."""
        if isinstance(image, ImageFile):
            return image.path
        if isinstance(image, ImageBytes):
            return BytesIO(image.data)
        value: Any = self._value(image)
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise PromptError(f"{image} holds no image; remove the row")
        return BytesIO(data)

    def _value(self, cell: ImageCell) -> object:
        """What a cell holds, for which its group of rows is read unless it is held already."""
        import pyarrow  # type: ignore[import-untyped]

        if cell not in self._held:
            try:
                self._read_group(cell)
            except (OSError, IndexError, pyarrow.ArrowException) as error:
                raise PromptError(f"{cell} cannot be read: {join_lines(error)}") from None
        self._cells[cell.path].discard(cell)
        return self._held.pop(cell)

    def _read_group(self, cell: ImageCell) -> None:
        """Holds all cells of its group of rows that will be asked for."""
        from pyarrow import parquet

        with parquet.ParquetFile(cell.path) as file:
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            ends = list(accumulate(sizes))
            group = bisect_right(ends, cell.row)
            first = ends[group] - sizes[group]
            cells = self._cells[cell.path] | {cell}
            inside = [other for other in cells if first <= other.row < ends[group]]
            table = file.read_row_group(group, columns=sorted({other.column for other in inside}))
        for other in inside:
            self._held[other] = table.column(other.column)[other.row - first].as_py()


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


def _decode(image: StoredImage, source: Path | BytesIO) -> "Image.Image":
    """The picture, decoded to its end, turned upright, in red, green and blue."""
    from PIL import Image, ImageOps

    try:
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
    return PromptError(
        f"the image '{image}' cannot be read: {join_lines(error)}; remove it or mend it"
    )


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


_WON_AND_LOST = (("win", "lose"), ("chosen", "rejected"))
_LABELLED = (("jpg_0", "label_0"), ("jpg_1", "label_1"))

Found = tuple[tuple[StoredImage, ...], dict[str, Any]]
"""The images, and the rest of the row as metadata."""


def found_in(row: Mapping[str, Any], folder: Path, place: str) -> Found:
    """What a row says of images, whose paths are relative to `folder`; `place` is the row's.

    Raises:
        PromptError: an image's file does not exist, or the preferences are not one for each.
    """
    for won, lost in _WON_AND_LOST:
        if _is_image(row.get(won)) and _is_image(row.get(lost)):
            pair = _images([row[won], row[lost]], folder, place)
            return pair, _rest(row, {won, lost}, (1, 0))
    if all(isinstance(row.get(image), ImageCell) and label in row for image, label in _LABELLED):
        pair = _images([row[image] for image, _ in _LABELLED], folder, place)
        labels = _preference([row[label] for _, label in _LABELLED], 2, place)
        return pair, _rest(row, {name for both in _LABELLED for name in both}, labels)
    if "images" not in row:
        return (), _rest(row, set(), None)
    listed = row["images"]
    if not isinstance(listed, list) or not listed or not all(map(_is_image, listed)):
        raise PromptError(
            f'{place}: its "images" are not a list of paths; list files relative to this one, or '
            "give the column another name"
        )
    images = _images(listed, folder, place)
    if "preference" not in row:
        return images, _rest(row, {"images"}, None)
    return images, _rest(row, {"images"}, _preference(row["preference"], len(images), place))


def require(prompts: Sequence[Prompt], group_size: int, who: str) -> None:
    """Sees that every prompt has as many images as a group, and that their files are images.

    `who` says what needs them, in the error.

    Raises:
        PromptError: of the first prompt that has not.
    """
    for prompt in prompts:
        has = len(prompt.images)
        if has != group_size:
            fix = f"write data.group_size: {has}, or remove it" if has > 1 else "remove it"
            raise PromptError(
                f"{who} needs a group's images with each prompt: data.group_size is {group_size}, "
                f"and the prompt {prompt.text!r} comes with {has or 'none'}; {fix}"
            )
    for prompt in prompts:
        for image in prompt.images:
            try:
                require_image(image)
            except PromptError as error:
                raise PromptError(f"the prompt {prompt.text!r}: {error}") from None


def _is_image(value: object) -> bool:
    return isinstance(value, ImageCell) or (isinstance(value, str) and bool(value))


def _images(values: Sequence[Any], folder: Path, place: str) -> tuple[StoredImage, ...]:
    images = tuple(
        value if isinstance(value, ImageCell) else ImageFile(folder / value) for value in values
    )
    for image in images:
        # Path.is_file would raise where a text is too long to be a path.
        if not os.path.isfile(image.path):
            raise PromptError(
                f"{place}: the image file '{str(image.path)[:200]}' does not exist; paths are "
                "relative to the file of prompts"
            )
    return images


def _preference(given: Any, num: int, place: str) -> tuple[float, ...]:
    numbers = [each for each in given if type(each) in (int, float)] if _many(given) else []
    if not _many(given) or len(numbers) != len(given) or len(given) != num:
        raise PromptError(
            f'{place}: its "preference" is {given!r}; write a list of {num} numbers, one for each '
            "image, the higher the better"
        )
    return tuple(numbers)


def _many(value: object) -> bool:
    return isinstance(value, list | tuple)


def _rest(
    row: Mapping[str, Any], taken: set[str], preference: tuple[float, ...] | None
) -> dict[str, Any]:
    """The columns that JSON can hold, but for those that were taken."""
    kept = {
        key: value
        for key, value in row.items()
        if key not in taken and not isinstance(value, ImageCell)
    }
    return kept if preference is None else {**kept, "preference": list(preference)}
