"""Images that belong to prompts: found beside a file or in a table, and read when needed."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
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

_ROWS = 16
"""Of a parquet file that are decoded together: a group of rows may be larger than memory."""


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

        return floats(ImageOps.fit(self.picture(image), (width, height), Image.Resampling.BICUBIC))

    def picture(self, image: StoredImage, *, longest: int | None = None) -> "Image.Image":
        """An image in red, green and blue, at its own size or shrunk to `longest` pixels a side.

        A transparent one is on white, one with an EXIF orientation is turned.

        Raises:
            PromptError: there is none, it is no image, or it is cut short.
        """
        from PIL import Image

        picture = _decode(image, self._source(image), longest)
        if longest is not None:
            picture.thumbnail((longest, longest), Image.Resampling.BICUBIC)
        return picture

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
            wanted: dict[int, list[ImageCell]] = defaultdict(list)
            for other in self._cells[cell.path] | {cell}:
                if first <= other.row < ends[group]:
                    wanted[other.row].append(other)
            columns = sorted({other.column for cells in wanted.values() for other in cells})
            for rows in file.iter_batches(_ROWS, row_groups=[group], columns=columns):
                for i in range(rows.num_rows):
                    for other in wanted.get(first + i, ()):
                        self._held[other] = rows.column(other.column)[i].as_py()
                first += rows.num_rows


def open_inputs(
    prompts: Sequence[Prompt], *, longest: int | None = None
) -> "Iterator[tuple[Image.Image, ...]]":
    """Of each prompt in turn the images that a model is given, as `ImageReader.picture` has them.

    One prompt's are decoded at a time, and again for one that comes again. Of a parquet file the
    encoded images of one group of rows are held.

    Raises:
        PromptError: an image cannot be read; with the prompt's place.
    """
    reader = ImageReader(image for prompt in prompts for image in prompt.inputs)
    for prompt in prompts:
        with _placed(prompt):
            opened = tuple(reader.picture(image, longest=longest) for image in prompt.inputs)
        yield opened


def floats(picture: "Image.Image") -> Float[Tensor, "3 height width"]:
    """A picture of red, green and blue in [0, 1], float32."""
    # Copied: PIL's memory cannot be written to.
    levels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return levels.reshape(picture.height, picture.width, 3).permute(2, 0, 1).float() / 255


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


def _decode(
    image: StoredImage, source: Path | BytesIO, longest: int | None = None
) -> "Image.Image":
    """The picture, decoded to its end, turned upright, in red, green and blue.

    A JPEG far larger than `longest` is decoded at a half, a quarter or an eighth of its size.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(source) as picture:
            if longest is not None:
                picture.draft(None, (2 * longest, 2 * longest))
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
            with _placed(prompt):
                require_image(image)


def require_inputs(prompts: Sequence[Prompt]) -> None:
    """Sees that the files of the images that a model is given are images.

    Raises:
        PromptError: of the first that is none; with the prompt's place.
    """
    seen: set[StoredImage] = set()
    for prompt in prompts:
        for image in prompt.inputs:
            if image not in seen:
                seen.add(image)
                with _placed(prompt):
                    require_image(image)


@contextmanager
def _placed(prompt: Prompt) -> Iterator[None]:
    """What is said of a prompt's image, with the prompt."""
    try:
        yield
    except PromptError as error:
        where = f"{prompt.place}: " if prompt.place else ""
        raise PromptError(f"{where}the prompt {prompt.text!r}: {error}") from None
