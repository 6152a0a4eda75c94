"""Prompt sets that zoo ships: `builtin:NAME`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.resources import as_file, files
from typing import Annotated, Literal

from annotated_types import Ge

from zoo.data import digits, edits, geneval, ocr
from zoo.data import files as prompt_files
from zoo.data.scenes import prompts as scenes
from zoo.errors import closest
from zoo.prompt import Prompt, PromptError


def _general(split: Literal["train", "eval"], *, num: Annotated[int, Ge(1)] = 250) -> list[Prompt]:
    """250 prompts for training, 25 a category, or the 80 for evaluation, 8 a category.

    `num` takes the first so many.
    """
    name = f"general_{split}.jsonl"
    with as_file(files("zoo") / "assets" / name) as path:
        return prompt_files.load(path, name)[:num]


@dataclass(frozen=True)
class Builtin:
    """A set: what it is in a line, and what makes it, whose keyword-only parameters are options."""

    about: str
    make: Callable[..., list[Prompt]]


BUILTIN = {
    "digits/train": Builtin(
        "the ten digits in four wordings, for the digits model", partial(digits.prompts, "train")
    ),
    "digits/eval": Builtin(
        "the ten digits in a wording not trained on", partial(digits.prompts, "eval")
    ),
    "digits/images": Builtin(
        "captions with two handwritten digits each: for the sampler dataset", digits.captioned
    ),
    "digits/pairs": Builtin(
        "a digit as asked for, preferred over another: for the sampler dataset", digits.pairs
    ),
    "edits/train": Builtin(
        "shapes to be given another colour, with their pictures", edits.training
    ),
    "edits/test": Builtin("shapes to be taken away, with their pictures", edits.held_out),
    "edits/moving": Builtin("shapes that are to move, with their pictures", edits.moving),
    "general/train": Builtin("varied prompts in ten categories", partial(_general, "train")),
    "general/eval": Builtin("others of the same ten categories", partial(_general, "eval")),
    "geneval/train": Builtin(
        "GenEval's kinds of prompts, for the reward geneval", geneval.training
    ),
    "geneval/test": Builtin("as many and of the kinds that GenEval tests with", geneval.held_out),
    "ocr/train": Builtin("scenes with a text to be written, for the reward ocr", ocr.training),
    "ocr/test": Builtin("the same scenes with other texts", ocr.held_out),
    "scenes/train": Builtin(
        "coloured shapes in GenEval's kinds of prompts, for the scenes model", scenes.training
    ),
    "scenes/test": Builtin("scenes of the same kinds that are not in train", scenes.held_out),
}
"""Every set by name."""


def find(name: str) -> Builtin:
    """The set of a name.

    Raises:
        PromptError: there is none.
    """
    if name not in BUILTIN:
        raise PromptError(
            f"no built-in prompts '{name}'{closest(name, list(BUILTIN))}{names_in_words()}"
        )
    return BUILTIN[name]


def names_in_words() -> str:
    """All names, as an error adds them."""
    return f" (built in: {', '.join(f'builtin:{name}' for name in BUILTIN)})"
