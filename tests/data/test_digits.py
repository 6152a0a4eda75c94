"""The embedded data set and its prompts."""

import numpy as np
import pytest

from zoo.data import digits
from zoo.prompt import Prompt


def test_the_halves_share_no_image_and_hold_all_of_them() -> None:
    first, second = digits.halves()
    assert (len(first.images), len(second.images)) == (898, 899)
    from sklearn.datasets import load_digits

    joined = np.concatenate([first.images, second.images]).reshape(1797, -1)
    original = (load_digits().data / 16.0).astype(np.float32)
    assert sorted(map(tuple, joined.tolist())) == sorted(map(tuple, original.tolist()))


def test_the_cut_never_changes() -> None:
    first, second = digits.halves()
    assert first.digits[:8].tolist() == [2, 8, 2, 6, 6, 7, 1, 9]
    assert second.digits[:8].tolist() == [5, 1, 4, 9, 0, 4, 1, 1]


def test_images_are_in_the_unit_range_and_every_digit_is_in_both_halves() -> None:
    for half in digits.halves():
        assert half.images.dtype == np.float32
        assert (half.images.min(), half.images.max()) == (0.0, 1.0)
        assert (np.bincount(half.digits) > 70).all()


def test_there_are_40_training_and_10_evaluation_prompts_in_different_words() -> None:
    train, evaluation = digits.prompts("train"), digits.prompts("eval")
    assert (len(train), len(evaluation)) == (40, 10)
    assert not {prompt.text for prompt in train} & {prompt.text for prompt in evaluation}


def test_a_prompt_names_the_digit_in_its_metadata() -> None:
    for prompt in digits.prompts("train") + digits.prompts("eval"):
        assert prompt.text.endswith(digits.WORDS[prompt.metadata["digit"]])


@pytest.mark.parametrize(
    "metadata", [{}, {"digit": 10}, {"digit": -1}, {"digit": "7"}, {"digit": True}]
)
def test_a_prompt_without_a_digit_is_refused_by_name(metadata: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"the prompt 'a cat' has metadata .* needs"):
        digits.digits_of([Prompt("the digit one", {"digit": 1}), Prompt("a cat", metadata)])
