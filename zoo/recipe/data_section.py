"""The section `data` of a recipe: prompts of one source or several, and how many an epoch has."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator

from zoo.data.mixture import Source
from zoo.recipe.component import Strict
from zoo.storage.place import Place

_MOST = 10**9


def _countable(number: int) -> int:
    if number > _MOST:
        raise ValueError(f"{number:,} is more than anything here can count; allowed are {_MOST:,}")
    return number


Count = Annotated[int, Ge(1), AfterValidator(_countable)]
Text = Annotated[str, MinLen(1)]

Which = Literal["train", "eval"]


class ScoredSource(Strict):
    """A source of prompts, and the labels of the rewards that score its images; without them all.

    `tiny` is read in its place by `--tiny`, where it needs a network.
    """

    source: Place
    rewards: Annotated[tuple[Text, ...], MinLen(1)] | None = None
    tiny: Place | None = None


class MixedSource(ScoredSource):
    """One of several sources: its part of an epoch's groups is its `weight` in the sum of all."""

    weight: Annotated[float, Gt(0), Le(1e9)] = 1.0


class Data(Strict):
    """Prompts, and how many images of how many of them an epoch collects.

    `train` and `eval` are sources of prompts: `builtin:NAME?num=1000` (`zoo prompts` lists them),
    a .txt, .jsonl, .json, .csv, .tsv or .parquet file, `FOLDER?split=train`, a folder of pictures
    with a text each, `hub:OWNER/NAME?split=train&column=caption` of the Hugging Face Hub, or
    https://... of such a file. Or each is a list of several, `{source: ..., rewards: [LABEL]}` with
    the rewards that score its images, and of `train` with a `weight`. For the sampler `dataset`
    those of `train` come with images, as many as `group_size`: see `zoo.data.image_columns`. `tiny`
    is read in their place by `--tiny`, where they need a network.
    """

    train: Place | Annotated[tuple[MixedSource, ...], MinLen(1)]
    eval: Place | Annotated[tuple[ScoredSource, ...], MinLen(1)] | None = None
    tiny: Place | None = None
    groups_per_epoch: Count
    group_size: Count

    @property
    def evaluated(self) -> Which:
        """Which prompts evaluations are of: those to train on where there are no others."""
        return "train" if self.eval is None else "eval"

    def sources(self, which: Which) -> tuple[Source, ...]:
        """Those of the prompts to train on, or to evaluate with."""
        written: str | Sequence[ScoredSource] | None = self.train if which == "train" else self.eval
        if written is None:
            return ()
        if isinstance(written, str):
            return (Source(written, ("data", which)),)
        return tuple(
            Source(
                each.source, ("data", which, i),
                each.weight if isinstance(each, MixedSource) else 1.0,
                None if each.rewards is None else frozenset(each.rewards),
                each.tiny,
            )
            for i, each in enumerate(written)
        )  # fmt: skip
