"""Prompts that ask for a text in the picture, in double quotes, as OCR rewards read them.

Scenes and words were written for this project (assets/ocr.json). A text is of training or of test
for good, one in five of test, by a digest of its letters; so no text is in both, and a word can be.
Their metadata is {"text": "Gate B12", "category": "transport"}, say.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Annotated, Any, Literal

from annotated_types import Ge

from zoo import seeds
from zoo.prompt import Prompt, PromptError

Split = Literal["train", "test"]


def training(*, num: Annotated[int, Ge(1)] = 5000, seed: Annotated[int, Ge(0)] = 0) -> list[Prompt]:
    """So many prompts, each with a text of its own, the kinds of scenes in turn.

    Raises:
        PromptError: there are not so many.
    """
    return _prompts("train", num, seed)


def held_out(*, num: Annotated[int, Ge(1)] = 500) -> list[Prompt]:
    """Always the same prompts, of which fewer are the first.

    Raises:
        PromptError: there are not so many.
    """
    return _prompts("test", num, 0)


def _prompts(split: Split, num: int, seed: int) -> list[Prompt]:
    texts = _texts()[split]
    total = sum(map(len, texts.values()))
    if num > total:
        raise PromptError(f"builtin:ocr/{split} has {total:,} prompts, not {num:,}")
    kinds = _asset()["kinds"]
    each = [_of_kind(kind, texts[kind], kinds[kind]["scenes"], split, seed) for kind in kinds]
    found: list[Prompt] = []
    while len(found) < num:
        found += [prompt for of_kind in each if (prompt := next(of_kind, None))]
    return found[:num]


def _of_kind(
    kind: str, texts: Sequence[str], scenes: Sequence[str], split: Split, seed: int
) -> Iterator[Prompt]:
    order = seeds.order(len(texts), seed=seed, purpose=f"ocr {split} {kind}").tolist()
    for i, which in enumerate(order):
        # Every scene once before any comes again.
        lap, place = divmod(i, len(scenes))
        purpose = f"ocr {split} {kind} scenes {lap}"
        scene = scenes[int(seeds.order(len(scenes), seed=seed, purpose=purpose)[place])]
        text = texts[which]
        yield Prompt(scene.replace("{}", text), {"text": text, "category": kind})


@cache
def _asset() -> Mapping[str, Any]:
    read: Mapping[str, Any] = json.loads(
        (files("zoo") / "assets" / "ocr.json").read_text(encoding="utf-8")
    )
    return read


@cache
def _texts() -> Mapping[Split, Mapping[str, list[str]]]:
    """All texts of each kind, in the file's order; letters that come again are left out."""
    asset = _asset()
    found: dict[Split, dict[str, list[str]]] = {"train": {}, "test": {}}
    seen: set[str] = set()
    for kind, given in asset["kinds"].items():
        found["train"][kind], found["test"][kind] = [], []
        for pattern in given["texts"]:
            for text in _fill(pattern, asset["words"]):
                # What rewards compare: without spaces, in lower case.
                letters = text.casefold().replace(" ", "")
                if letters not in seen:
                    seen.add(letters)
                    split: Split = "train" if seeds.derive("ocr text", letters) % 5 else "test"
                    found[split][kind].append(text)
    return found


def _fill(pattern: str, words: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The pattern with every choice of words: `Call {name}` is 26 texts."""
    fixed, slots = re.split(r"{\w+}", pattern), re.findall(r"{(\w+)}", pattern)
    for chosen in product(*(words[slot] for slot in slots)):
        # A word twice in a text ("To Ada with Ada") would read as a mistake.
        if len(set(chosen)) == len(chosen):
            yield "".join(a + b for a, b in zip(fixed, (*chosen, ""), strict=True))
