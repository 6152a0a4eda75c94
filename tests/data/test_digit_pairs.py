"""The built-in preference pairs of handwritten digits."""

import numpy as np
import torch

from tests.pictures import pixels
from zoo.data import digits
from zoo.data.digits import WORDS, halves


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
