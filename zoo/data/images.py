"""The images that a row of prompts comes with, and which of them is preferred.

* `images`, a list of paths relative to the file: any number of images of the prompt. `preference`
  beside it is a list with a number for each, higher is better.
* `win` and `lose`, or `chosen` and `rejected`: a pair of paths, or of encoded images.
* `jpg_0`, `jpg_1`, `label_0` and `label_1`: a pair of encoded images of which one has the label 1,
  or both 0.5 where neither is better, as in Pick-a-Pic (Kirstain et al. 2023, arXiv 2305.01569).

In parquet files images are encoded in the table itself: as bytes, or as `datasets` writes them.
They stay there until they are needed.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zoo.data.stored_image import require_image
from zoo.prompt import ImageCell, ImageFile, Prompt, PromptError, StoredImage

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
