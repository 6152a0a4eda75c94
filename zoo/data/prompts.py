"""Where prompts come from, and which ones an epoch draws.

A source is a text, in a recipe's `data.train` and `data.eval`; several together are a `mixture`:

* `builtin:NAME`: a set that comes with zoo, `builtin:geneval/train?num=10000`, say; `zoo prompts`
  lists them.
* `FILE`: .txt, .jsonl, .json, .csv, .tsv or .parquet (see `files`).
* `FOLDER?split=train`: a folder that holds a file for each split, `train_metadata.jsonl`, say.
* `FOLDER`: pictures to edit or to animate, each with a text (see `pairs`).
* `hub:OWNER/NAME?split=train&column=caption`: a data set on the Hugging Face Hub (see `hub`).
* `https://...`: such a file on the web (see `url`).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from zoo import seeds
from zoo.data import builtin, files, hub, pairs, source, splits, url
from zoo.errors import reason
from zoo.prompt import Prompt, PromptError


def load(written: str) -> list[Prompt]:
    """All prompts of a source, in its order.

    Raises:
        PromptError: in one line, what is wrong with which line of which file.
    """
    place, options = source.parts(written)
    if place.startswith("builtin:"):
        return source.read(builtin.find(place.removeprefix("builtin:")).make, written, options)
    if place.startswith("hub:"):
        return source.read(hub.load, written, options, place.removeprefix("hub:"))
    if place.startswith(url.SCHEMES):
        return source.read(url.load, written, options, place)
    path = Path(place)
    if os.path.isdir(path):
        return source.read(folder, written, options, path, place.rstrip("/"))
    if path.suffix.lower() not in files.SUFFIXES:
        raise PromptError(
            f"prompts '{place}' are neither a {', '.join(files.SUFFIXES[:-1])} or "
            f"{files.SUFFIXES[-1]} file nor builtin:NAME, hub:OWNER/NAME, https://... or a folder "
            f"that exists{builtin.names_in_words()}"
        )
    return source.read(files.load, written, options, path, place)


def folder(
    path: Path, shown: str, /, *, split: str | None = None, reading: files.Reading = files.AS_USUAL
) -> list[Prompt]:
    """All prompts of a split, from the files of a folder that are called after it; or its pairs.

    Raises:
        PromptError: there are none, more than one file could be meant, or it cannot be read.
    """
    try:
        names = [each.name for each in path.iterdir() if each.is_file()]
    except OSError as error:
        raise PromptError(f"prompts '{shown}' cannot be read: {reason(error)}") from None
    if split is None and reading == files.AS_USUAL and pairs.are_in(names):
        return pairs.load(path, names, shown)
    chosen = splits.choose(names, shown, split)
    found = (files.load(path / each, f"{shown}/{each}", reading=reading) for each in chosen)
    return [prompt for prompts in found for prompt in prompts]


def drawn(
    prompts: Sequence[Prompt], num_groups: int, *, seed: int, epoch: int, source: int = 0
) -> list[Prompt]:
    """The prompts of an epoch's groups, drawn afresh: distinct until all have been used.

    Of several sources each, by its number, has an order of its own.
    """
    chosen: list[Prompt] = []
    for lap in range(-(-num_groups // len(prompts))):
        purpose = f"prompts {lap} of source {source}" if source else f"prompts {lap}"
        order = seeds.order(len(prompts), seed=seed, purpose=purpose, epoch=epoch)
        chosen += [prompts[i] for i in order.tolist()]
    return chosen[:num_groups]
