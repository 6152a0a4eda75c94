"""A folder of pairs: a picture to edit or to animate, and a text beside it that says how.

`cat.png` and `cat.txt`: the text is the prompt, the picture its input, in the order of the names.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from zoo.data.image_columns import SUFFIXES, is_picture_name
from zoo.prompt import ImageFile, Prompt, PromptError

_TEXT = ".txt"


def are_in(names: Iterable[str]) -> bool:
    """Whether a folder with these files is one: a text in it is called as a picture is."""
    pictures, texts = _by_stem(names)
    return not pictures.keys().isdisjoint(texts)


def load(folder: Path, names: Iterable[str], shown: str) -> list[Prompt]:
    """All pairs among the files of a folder; `shown` is what errors call it.

    Raises:
        PromptError: a picture has no text, a text no picture or another's too; a text is empty.
    """
    pictures, texts = _by_stem(names)
    for stem in sorted(pictures.keys() ^ texts.keys()):
        one = (pictures.get(stem) or texts[stem])[0]
        other = f"no {stem}{_TEXT}" if stem in pictures else f"no picture {stem}{SUFFIXES[-1]}, say"
        raise PromptError(
            f"prompts '{shown}' are pictures with a text each, and beside {one} there is {other}; "
            "add it, or remove the file"
        )
    return [_prompt(folder, pictures[stem], shown) for stem in sorted(pictures)]


def _by_stem(names: Iterable[str]) -> tuple[Mapping[str, list[str]], Mapping[str, list[str]]]:
    """The pictures, and the texts, by their names without what they end with."""
    pictures: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    for name in sorted(name for name in names if not name.startswith(".")):
        path = PurePath(name)
        if is_picture_name(name):
            pictures.setdefault(path.stem, []).append(name)
        elif path.suffix.lower() == _TEXT:
            texts.setdefault(path.stem, []).append(name)
    return pictures, texts


def _prompt(folder: Path, pictures: list[str], shown: str) -> Prompt:
    stem = PurePath(pictures[0]).stem
    if len(pictures) > 1:
        raise PromptError(
            f"prompts '{shown}' hold {' and '.join(pictures)}, of which {stem}{_TEXT} can be only "
            "one's; rename one of them"
        )
    path = folder / f"{stem}{_TEXT}"
    try:
        text = " ".join(path.read_text(encoding="utf-8-sig").split())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise PromptError(f"{shown}/{path.name} cannot be read as UTF-8 text: {why}") from None
    if not text:
        raise PromptError(f"{shown}/{path.name} is empty; write what is to become of the picture")
    image = ImageFile(folder / pictures[0])
    return Prompt(text, inputs=(image,), place=f"{shown}/{path.name}")
