"""The prompts of the scenes task."""

from collections import Counter

import pytest

from zoo.data.geneval_scenes import key
from zoo.data.prompts import load
from zoo.data.scenes.prompts import COLORS, SHAPES, TESTED, every
from zoo.prompt import PromptError
from zoo.reward.geneval.wanted import TAGS

TRAIN, TEST = "builtin:scenes/train", "builtin:scenes/test"


def test_every_kind_is_in_both_halves_and_no_scene_is():
    train, test = load(TRAIN), load(TEST)
    assert Counter(prompt.metadata["tag"] for prompt in test) == TESTED
    assert Counter(prompt.metadata["tag"] for prompt in train) == dict.fromkeys(TAGS, 200)
    tested = {key(prompt.metadata) for prompt in test}
    assert len(tested) == len(test) == 68
    assert not tested & {key(prompt.metadata) for prompt in train}


def pairs(prompts):
    """Colours with their shapes, of prompts that ask for two of both."""
    return {
        frozenset((each["color"], each["class"]) for each in prompt.metadata["include"])
        for prompt in prompts
        if prompt.metadata["tag"] == "color_attr"
    }


def test_no_pair_of_coloured_shapes_that_is_tested_is_trained_on_in_either_order():
    train = pairs(load(f"{TRAIN}?num=5000&tags=color_attr"))
    assert len(train) == 450 - TESTED["color_attr"]
    assert len(pairs(load(TEST))) == TESTED["color_attr"]
    assert not train & pairs(load(TEST))


def test_all_prompts_are_different_and_short():
    texts = [prompt.text for prompt in every()]
    assert len(set(texts)) == len(texts) == 6 + 30 + 18 + 36 + 120 + 900
    assert max(len(text.split()) for text in texts) == 7
    words = {word for text in texts for word in text.split()}
    assert words > set(SHAPES) | set(COLORS)


def test_another_seed_gives_another_order_of_training_and_the_same_test():
    first, second = ([prompt.text for prompt in load(f"{TRAIN}?seed={seed}")] for seed in (0, 1))
    assert first != second
    assert sorted(first[:50]) != sorted(second[:50])
    assert load(TEST) == load(TEST)


def test_a_part_of_the_test_and_some_kinds_alone():
    assert Counter(p.metadata["tag"] for p in load(f"{TEST}?tags=counting,position")) == {
        "counting": 6, "position": 12,
    }  # fmt: skip
    few = load(f"{TEST}?num=12")
    assert len(few) == 12
    assert {prompt.text for prompt in few} < {prompt.text for prompt in load(TEST)}
    with pytest.raises(PromptError, match="builtin:scenes/test has 68 prompts"):
        load(f"{TEST}?num=69")
