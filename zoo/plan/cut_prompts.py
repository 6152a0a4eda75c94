"""Which prompts are longer than what the policy and the rewards read of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from zoo.data.prompts import load
from zoo.data.text_limit import TextLimit
from zoo.errors import join_lines
from zoo.prompt import Prompt
from zoo.recipe.model import Recipe
from zoo.recipe.sections import RewardEntry


@dataclass(frozen=True)
class CutPrompts:
    """What one encoder reads of a set of prompts: `tokens` of each; `longest` is the most of one.

    `option` is the recipe's key that moves the limit, if any does.
    """

    prompts: str
    reader: str
    encoder: str
    tokens: int
    num_prompts: int
    num_cut: int
    longest: int
    option: str | None

    @property
    def line(self) -> str:
        """As a warning says it."""
        fix = f"{self.option} moves it" if self.option else "no option moves it: shorten them"
        return (
            f"{self.prompts}: {self.num_cut:,} of {self.num_prompts:,} are cut by {self.reader}, "
            f"whose {self.encoder} reads {self.tokens} tokens; the longest has {self.longest:,} "
            f"({fix})"
        )


@dataclass(frozen=True)
class PromptLengths:
    """Of every encoder whose limit is known; `unknown` has a line for each reader that cannot say.

    A component that says nothing of limits is in neither.
    """

    read: tuple[CutPrompts, ...]
    unknown: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        """A line for each encoder that cuts, then for each reader of which it is not known."""
        return [*(cut.line for cut in self.read if cut.num_cut), *self.unknown]


@dataclass(frozen=True)
class _Reader:
    """A component that reads prompts, as messages name it; `key` is equal for those that do alike.

    `place` is where the recipe has its options.
    """

    shown: str
    place: str
    key: str
    limits: Callable[[], Sequence[TextLimit]]


def prompt_lengths(recipe: Recipe) -> PromptLengths:
    """Of the prompts to train on and to evaluate, in all stages; reads tokenizers and no weights.

    Raises:
        PromptError: the prompts cannot be read.
    """
    counter = _Counter()
    for stage in recipe.timeline:
        data, options, rewards = stage.recipe.data, stage.recipe.eval, stage.recipe.rewards
        judged = [(source, rewards) for source in data.sources("train")]
        if options is not None:
            judges = options.rewards or rewards
            judged += [(source, judges) for source in data.sources(data.evaluated)]
        for source, entries in judged:
            own = [entry for entry in entries if source.asks(entry.label)]
            counter.add(source.shown, load(source.place), _readers(stage.recipe, own))
    return counter.lengths


def lengths_of(
    recipe: Recipe, prompts: Sequence[Prompt], rewards: Sequence[RewardEntry]
) -> PromptLengths:
    """Of these prompts, read by a recipe's policy and by these rewards."""
    counter = _Counter()
    counter.add("the prompts", prompts, _readers(recipe, rewards))
    return counter.lengths


def _readers(recipe: Recipe, rewards: Sequence[RewardEntry]) -> Iterator[_Reader]:
    policy = recipe.policy
    yield _Reader(
        f"the policy '{policy.name}'", "policy", repr(policy.dump()),
        partial(policy.cls.text_limits, policy.options),
    )  # fmt: skip
    for entry in rewards:
        yield _Reader(
            f"the reward '{entry.label}'", f"rewards.{entry.label}", repr(entry.made_from),
            partial(entry.cls.text_limits, entry.options),
        )  # fmt: skip


_TOGETHER = 1_000
"""Texts that are counted at once."""


def _num_bytes(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


def _longest_first(texts: Sequence[str], limit: TextLimit) -> dict[str, int]:
    """The tokens of the first texts, which have most bytes: as far as a thousand has one too long.

    Those that follow have fewer tokens, but for a rare one: of 50,000 texts few are counted.
    """
    lengths: dict[str, int] = {}
    for start in range(0, len(texts), _TOGETHER):
        some = texts[start : start + _TOGETHER]
        counted = dict(zip(some, limit.count(some), strict=True))
        lengths |= counted
        if max(counted.values()) <= limit.tokens:
            break
    return lengths


class _Counter:
    """Counts for each reader once, whatever stages have it, and tells each thing once."""

    def __init__(self) -> None:
        self._limits: dict[str, Sequence[TextLimit]] = {}
        self._read: dict[CutPrompts, None] = {}
        self._unknown: dict[str, None] = {}

    @property
    def lengths(self) -> PromptLengths:
        """All that was counted."""
        return PromptLengths(tuple(self._read), tuple(self._unknown))

    def add(self, which: str, prompts: Sequence[Prompt], readers: Iterable[_Reader]) -> None:
        """One set of prompts."""
        texts = sorted({prompt.text for prompt in prompts}, key=_num_bytes, reverse=True)
        for reader in readers:
            for limit in self._of(reader):
                lengths = _longest_first(texts, limit)
                option = f"{reader.place}.{limit.option}" if limit.option else None
                num_cut = sum(lengths.get(prompt.text, 0) > limit.tokens for prompt in prompts)
                cut = CutPrompts(
                    which, reader.shown, limit.encoder, limit.tokens, len(prompts), num_cut,
                    max(lengths.values()), option,
                )  # fmt: skip
                self._read[cut] = None

    def _of(self, reader: _Reader) -> Sequence[TextLimit]:
        if reader.key not in self._limits:
            self._limits[reader.key] = ()
            try:
                self._limits[reader.key] = reader.limits()
            except ValueError as error:
                why = f"it is not known which prompts {reader.shown} cuts: {join_lines(error)}"
                self._unknown[why] = None
        return self._limits[reader.key]
