"""The embedded data set, its prompts and its pairs."""

import numpy as np
import pytest
import torch

from tests.pictures import pixels
from zoo.data import digits
from zoo.data.digits import WORDS, halves
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


@pytest.mark.slow
def test_each_digit_of_the_half_is_preferred_once_over_another_digit():
    half, judged = halves()
    pairs = digits.pairs()
    assert len(pairs) == len(half.images) == 898
    digit_of = {
        (image * 255).round().astype(np.uint8).tobytes(): d
        for image, d in zip(half.images, half.digits, strict=True)
    }
    unseen = {(image * 255).round().astype(np.uint8).tobytes() for image in judged.images}
    winners = []
    for prompt in pairs:
        assert prompt.text.endswith(WORDS[prompt.metadata["digit"]])
        shown = []
        for image in prompt.images:
            levels = (pixels(image, 8, 8)[0] * 255).round().to(torch.uint8).numpy().tobytes()
            assert levels not in unseen
            shown.append(digit_of[levels])
        won = prompt.metadata["preference"].index(1)
        assert sorted(prompt.metadata["preference"]) == [0, 1]
        assert shown[won] == prompt.metadata["digit"] != shown[1 - won]
        winners.append(prompt.images[won].name)
    assert len(set(winners)) == 898


def test_the_preferred_one_is_as_often_first_as_second_and_pairs_never_change():
    pairs = digits.pairs()
    first = sum(prompt.metadata["preference"] == [1, 0] for prompt in pairs)
    assert abs(first - 449) <= 4
    assert [[image.name for image in p.images] for p in pairs] == [
        [image.name for image in p.images] for p in digits.pairs()
    ]
    assert len({prompt.text for prompt in pairs}) == 40


def test_captioned_digits_are_those_of_their_captions_and_come_once() -> None:
    made = digits.captioned()
    half, _ = digits.halves()
    shown: list[str] = []
    for prompt in made:
        names = [image.name for image in prompt.images]
        assert len(names) == 2
        shown += names
        for name in names:
            assert int(half.digits[int(name.split()[1])]) == prompt.metadata["digit"]
        assert WORDS[prompt.metadata["digit"]] in prompt.text
    assert len(set(shown)) == len(shown) == 2 * len(made)
    assert len(made) == 447
    assert digits.captioned(num=3) == made[:3]
