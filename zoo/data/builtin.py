"""The prompts that come with zoo: `builtin:NAME`, with a function for each that makes them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from zoo.data import digit_pairs, digits, general, geneval, ocr
from zoo.prompt import Prompt, PromptError
from zoo.registry import closest


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
    "digits/pairs": Builtin(
        "a digit as asked for, preferred over another: for the sampler dataset", digit_pairs.prompts
    ),
    "general/train": Builtin("varied prompts in ten categories", partial(general.prompts, "train")),
    "general/eval": Builtin("others of the same ten categories", partial(general.prompts, "eval")),
    "geneval/train": Builtin(
        "GenEval's kinds of prompts, for the reward geneval", geneval.training
    ),
    "geneval/test": Builtin("as many and of the kinds that GenEval tests with", geneval.held_out),
    "ocr/train": Builtin("scenes with a text to be written, for the reward ocr", ocr.training),
    "ocr/test": Builtin("the same scenes with other texts", ocr.held_out),
}
"""Every set by name."""


def find(name: str) -> Builtin:
    """The set of a name.

    Raises:
        PromptError: there is none.
    """
    if name not in BUILTIN:
        raise PromptError(f"no built-in prompts '{name}'{closest(name, list(BUILTIN))}{listed()}")
    return BUILTIN[name]


def listed() -> str:
    """All names, as an error adds them."""
    return f" (built in: {', '.join(f'builtin:{name}' for name in BUILTIN)})"
