"""The sets that come with zoo, and how an epoch draws from them."""

from collections import Counter

import pytest

from zoo.data.builtin import BUILTIN, find
from zoo.data.prompts import drawn, load
from zoo.prompt import Prompt, PromptError


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("name", BUILTIN)
def test_every_set_loads_without_options_and_names_no_prompt_of_its_other_half(name: str) -> None:
    prompts = load(f"builtin:{name}")
    assert prompts
    assert all(prompt.text == prompt.text.strip() != "" for prompt in prompts)
    assert find(name).about
    family, _, half = name.partition("/")
    halves = ("train", "pairs") if half in ("eval", "test") else ("eval", "test")
    others = [f"{family}/{each}" for each in halves if f"{family}/{each}" in BUILTIN]
    assert others
    held = {prompt.text.casefold() for each in others for prompt in load(f"builtin:{each}")}
    assert not {prompt.text.casefold() for prompt in prompts} & held


def test_an_unknown_set_is_told_all_there_are() -> None:
    with pytest.raises(PromptError, match="'genval/test'; did you mean 'geneval/test'") as caught:
        load("builtin:genval/test")
    assert all(f"builtin:{name}" in str(caught.value) for name in BUILTIN)


def test_a_set_without_options_says_so() -> None:
    with pytest.raises(PromptError, match="unknown option 'num'; it has no options"):
        load("builtin:digits/train?num=3")


def test_general_prompts_are_balanced_distinct_and_varied() -> None:
    train, held_out = load("builtin:general/train"), load("builtin:general/eval")
    for prompts, each in ((train, 25), (held_out, 8)):
        assert set(Counter(p.metadata["category"] for p in prompts).values()) == {each}
    texts = [prompt.text.casefold() for prompt in train + held_out]
    assert len(set(texts)) == len(texts) == 330
    words = [len(text.split()) for text in texts]
    assert min(words) >= 4
    assert max(words) <= 30
    starts = Counter(tuple(text.split()[:3]) for text in texts)
    assert starts.most_common(1)[0][1] <= 6  # no template
    assert all(text.count('"') in (0, 2) for text in texts)
    for prompt in train + held_out:
        assert ('"' in prompt.text) == (prompt.metadata["category"] == "text")


def test_an_epoch_draws_every_prompt_before_any_comes_again() -> None:
    prompts = [Prompt(str(i)) for i in range(5)]
    for epoch in range(3):
        found = drawn(prompts, 12, seed=1, epoch=epoch)
        assert sorted(p.text for p in found[:5]) == sorted(p.text for p in found[5:10])
        assert len(found) == 12
    assert drawn(prompts, 5, seed=1, epoch=0) == drawn(prompts, 5, seed=1, epoch=0)
    assert drawn(prompts, 5, seed=1, epoch=0) != drawn(prompts, 5, seed=1, epoch=1)
