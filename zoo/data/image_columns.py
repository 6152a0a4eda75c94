"""Which columns of a row are images: those to edit or to animate, and results that are stored.

Results are in `images` with a `preference` for each, in `win` and `lose`, in `chosen` and
`rejected`, or in Pick-a-Pic's own columns. What a model is given is in `inputs`, `input` or
`image`, the first that there is: an image or a list of them. Texts are paths, relative to the file;
without `?input=` one that does not end as a picture's name does is metadata, and so is an address.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import suggest
from zoo.prompt import ImageCell, ImageFile, PromptError, StoredImage

SUFFIXES = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""How the names of pictures end."""

_WON_AND_LOST = (("win", "lose"), ("chosen", "rejected"))
_LABELLED = (("jpg_0", "label_0"), ("jpg_1", "label_1"))
_INPUTS = ("inputs", "input", "image")


@dataclass(frozen=True)
class Found:
    """The images of a row, and the rest of it as metadata."""

    images: tuple[StoredImage, ...]
    inputs: tuple[StoredImage, ...]
    metadata: dict[str, Any]


def found_in(
    row: Mapping[str, Any],
    folder: Path,
    place: str,
    *,
    named: Sequence[str] = (),
    has_files: bool = True,
) -> Found:
    """What a row says of images, whose paths are relative to `folder`; `place` is the row's.

    `named` are the columns of what a model is given, if not the usual ones. In these a path is
    metadata unless the table `has_files` beside it.

    Raises:
        PromptError: an image's file does not exist, a column that is named is not there or holds no
            image, or the preferences are not one for each.
    """
    if named:
        inputs, taken = _named_inputs(row, named, folder, place)
    else:
        cells = {key: value for key, value in row.items() if isinstance(value, ImageCell)}
        inputs, taken = _usual_inputs(row if has_files else cells, folder, place)
    left = {key: value for key, value in row.items() if key not in taken}
    images, metadata = _results(left, folder, place)
    return Found(images, inputs, metadata)


def is_picture_name(name: str) -> bool:
    """Whether a text ends as the path of a picture does, and is no address."""
    return name.lower().endswith(SUFFIXES) and "://" not in name


def _usual_inputs(
    row: Mapping[str, Any], folder: Path, place: str
) -> tuple[tuple[StoredImage, ...], set[str]]:
    """Of the first column that has such; with the names of what is no metadata then."""
    for name in _INPUTS:
        values = _listed(row.get(name))
        pictures = [value for value in values if _is_picture(value)]
        if pictures and len(pictures) != len(values):
            raise PromptError(
                f'{place}: its "{name}" are not all images; list the paths of pictures, relative '
                "to the file of prompts"
            )
        if pictures:
            other = f"; give '{name}' another name if it is not to be edited"
            return _images(pictures, folder, place, other), {name}
    return (), set()


def paths_in(row: Mapping[str, Any], named: Sequence[str]) -> list[str]:
    """The texts in the columns that are named."""
    return [text for name in named for text in _listed(row.get(name)) if isinstance(text, str)]


def _named_inputs(
    row: Mapping[str, Any], names: Sequence[str], folder: Path, place: str
) -> tuple[tuple[StoredImage, ...], set[str]]:
    values = []
    for name in names:
        own = _listed(row.get(name))
        if not own or not all(map(_is_image, own)):
            holds = f"holds {str(row[name])[:60]!r}, no image" if name in row else "is not there"
            hint = "" if name in row else suggest(name, list(row), "it has")
            raise PromptError(f"{place}: the column '{name}' of ?input= {holds}{hint}")
        values += own
    return _images(values, folder, place), set(names)


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_picture(value: object) -> bool:
    return isinstance(value, ImageCell) or (isinstance(value, str) and is_picture_name(value))


def _results(
    row: Mapping[str, Any], folder: Path, place: str
) -> tuple[tuple[StoredImage, ...], dict[str, Any]]:
    """The stored results, and what is left of the row as metadata."""
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


def _is_image(value: object) -> bool:
    return isinstance(value, ImageCell) or (isinstance(value, str) and bool(value))


def _images(
    values: Sequence[Any], folder: Path, place: str, other: str = ""
) -> tuple[StoredImage, ...]:
    images = tuple(
        value if isinstance(value, ImageCell) else ImageFile(folder / value) for value in values
    )
    for image in images:
        # Path.is_file would raise where a text is too long to be a path.
        if not os.path.isfile(image.path):
            raise PromptError(
                f"{place}: the image file '{str(image.path)[:200]}' does not exist; paths are "
                f"relative to the file of prompts{other}"
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
