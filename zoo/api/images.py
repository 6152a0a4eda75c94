"""Images that a model made, which show themselves in a notebook."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from zoo.cli.output import GRID, IMAGES
from zoo.errors import UserError
from zoo.run import moving


class Images(Sequence[Image.Image]):
    """The images of some prompts, those of the first prompt first; videos have frames.

    In a notebook it shows itself as one picture, a row a prompt.
    """

    def __init__(self, folder: Path, prompts: Sequence[str], num: int) -> None:
        """Reads a folder that `zoo sample` wrote, with so many images of each prompt."""
        self.prompts, self.images_per_prompt = tuple(prompts), num
        self.files = tuple(sorted((folder / IMAGES).iterdir()))
        (self._grid,) = folder.glob(f"{GRID}.*")

    def __len__(self) -> int:
        """How many there are."""
        return len(self.files)

    def __getitem__(self, index: int) -> Image.Image:  # type: ignore[override]
        """One of them; image `i` of prompt `p` is number `p * images_per_prompt + i`.

        Raises:
            UserError: it is a video that is no picture: see `files`.
        """
        path = self.files[index]
        if path.suffix == moving.FILM:
            raise UserError(f"{path} is a video; `files` has the paths of all")
        return Image.open(io.BytesIO(path.read_bytes()))

    def of(self, prompt: int) -> list[Image.Image]:
        """Those of one prompt, by its number."""
        first = range(len(self.prompts))[prompt] * self.images_per_prompt
        return [self[first + image] for image in range(self.images_per_prompt)]

    def __iter__(self) -> Iterator[Image.Image]:
        """Each in turn."""
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        """How many there are, and where."""
        return f"{len(self)} images of {len(self.prompts)} prompts in {self._grid.parent}"

    def _repr_png_(self) -> bytes | None:
        if self._grid.suffix == moving.STILL:
            return self._grid.read_bytes()
        with io.BytesIO() as file, Image.open(self._grid) as picture:
            picture.save(file, "png")
            return file.getvalue()
