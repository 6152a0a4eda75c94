"""Prompts with a text to be written."""

import re
from collections import Counter

import pytest

from zoo.data.prompts import load
from zoo.prompt import Prompt, PromptError

TRAIN, TEST = "builtin:ocr/train", "builtin:ocr/test"


def letters(prompt: Prompt) -> str:
    return prompt.metadata["text"].casefold().replace(" ", "")


@pytest.mark.slow
def test_the_quoted_part_is_the_text_in_the_metadata_and_nothing_is_left_to_fill_in() -> None:
    for prompt in load(TRAIN) + load(TEST):
        assert re.findall(r'"(.*?)"', prompt.text) == [prompt.metadata["text"]]
        assert not re.search(r"[{}]|  ", prompt.text)


@pytest.mark.slow
def test_no_text_is_in_both_and_none_comes_twice() -> None:
    train, test = load(f"{TRAIN}?num=10000"), load(f"{TEST}?num=3000")
    seen = Counter(map(letters, train + test))
    assert len(train) == 10_000
    assert len(test) == 3_000
    assert set(seen.values()) == {1}
    other = load(f"{TRAIN}?num=2000&seed=3")
    assert not {letters(prompt) for prompt in other} & {letters(prompt) for prompt in test}


@pytest.mark.slow
def test_texts_are_short_and_long() -> None:
    texts = [prompt.metadata["text"] for prompt in load(f"{TRAIN}?num=2000")]
    lengths = list(map(len, texts))
    assert min(lengths) <= 6
    assert 30 <= max(lengths) <= 45
    assert {len(text.split()) for text in texts} >= {2, 3, 4, 5, 6}


def test_all_kinds_come_in_turn_and_all_their_scenes() -> None:
    prompts = load(f"{TRAIN}?num=1200")
    counts = Counter(prompt.metadata["category"] for prompt in prompts)
    assert len(counts) == 12
    assert max(counts.values()) - min(counts.values()) <= 1
    assert [p.metadata["category"] for p in prompts[:12]] == list(counts)
    scenes = {re.sub(r'"(.*?)"', "", prompt.text) for prompt in prompts}
    assert len(scenes) == 78


def test_prompts_are_the_same_every_time_and_others_with_another_seed() -> None:
    assert [prompt.text for prompt in load(f"{TRAIN}?num=2")] == FIRST
    assert load(f"{TRAIN}?num=100") == load(f"{TRAIN}?num=200")[:100]
    assert load(f"{TRAIN}?num=100&seed=1") != load(f"{TRAIN}?num=100")
    assert load(f"{TEST}?num=50") == load(TEST)[:50]


FIRST = [
    'A hand-painted awning over a busy shop, lettered "Sleepy Fox Flowers"',
    'Close-up of a buzzing neon tube bent into the words "Cafe Quentin"',
]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (f"{TRAIN}?num=1000000", r"builtin:ocr/train has [\d,]+ prompts, not 1,000,000"),
        (f"{TEST}?num=1000000", r"builtin:ocr/test has [\d,]+ prompts, not 1,000,000"),
        (f"{TEST}?seed=1", "unknown option 'seed'; allowed: num"),
        (f"{TRAIN}?num=many", "num is a whole number of 1 or more, not 'many'"),
    ],
)
def test_options_that_are_wrong_are_said_in_a_line(source: str, said: str) -> None:
    with pytest.raises(PromptError, match=said):
        load(source)
