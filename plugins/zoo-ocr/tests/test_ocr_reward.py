"""The reward on rendered text, with the real weights."""

import math
import socket

import numpy as np
import pytest
import torch
from PIL import Image
from zoo_ocr import engine
from zoo_ocr.engine import Engine, EngineOptions
from zoo_ocr.known import picture
from zoo_ocr.reward import OCR

from zoo.data.digits import halves
from zoo.prompt import Prompt, PromptError
from zoo.registry import load


@pytest.fixture(scope="module")
def ocr():
    return OCR()


def score(reward, image, text):
    return float(reward.score(image[None], [Prompt(f'a sign that says "{text}"')]).value)


def rotated(image, degrees):
    pixels = Image.fromarray((image.permute(1, 2, 0) * 255).byte().numpy())
    turned = pixels.rotate(degrees, resample=Image.Resampling.BICUBIC, fillcolor="white")
    return torch.from_numpy(np.array(turned)).permute(2, 0, 1).float() / 255


def test_it_is_registered_under_its_name():
    assert load("rewards", "ocr") is OCR


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("side", [32, 64, 128, 256, 512])
@pytest.mark.parametrize("text", ["Hi", "OPEN"])
def test_text_is_read_at_any_size(ocr, side, text):
    assert score(ocr, picture(text, size=(side, side), letters=round(side * 0.3)), text) == 1.0


@pytest.mark.parametrize("size", [(96, 384), (384, 96), (40, 640)])
def test_images_need_not_be_square(ocr, size):
    assert score(ocr, picture("Taxi", size=size, letters=30), "taxi") == 1.0


@pytest.mark.parametrize("degrees", [-20, -10, -5, 5, 10, 20])
def test_a_rotated_word_is_read(ocr, degrees):
    word = rotated(picture("Hello World", size=(256, 256), letters=36), degrees)
    assert score(ocr, word, "Hello World") == 1.0


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("degrees", [-12, 0, 12])
def test_words_far_apart_in_a_tilted_row_are_read_from_the_left(ocr, degrees):
    row = rotated(picture("Hello       World", size=(512, 512), letters=44), degrees)
    assert score(ocr, row, "Hello World") == 1.0
    assert score(ocr, row, "World Hello") < 0.5


def test_small_text_in_a_large_image_is_read(ocr):
    assert score(ocr, picture("Mind the gap", size=(512, 512), letters=14), "Mind the gap") == 1.0


def test_an_image_is_read_as_it_is_up_to_the_published_side(ocr):
    small = picture("Fresh Bread\nDaily, 7 to 9!\n(no cash)", size=(512, 512), letters=8)
    assert score(ocr, small, "Fresh Bread Daily, 7 to 9! (no cash)") > 0.9
    assert score(OCR(detection_side=320), small, "Fresh Bread Daily, 7 to 9! (no cash)") < 0.5


def test_noisy_text_is_read(ocr):
    generator = torch.Generator().manual_seed(0)
    clean = picture("OPEN", size=(128, 128))
    noisy = (clean * 0.6 + 0.2 + 0.15 * torch.randn(clean.shape, generator=generator)).clamp(0, 1)
    assert score(ocr, noisy, "OPEN") == 1.0


def test_light_and_coloured_text_is_read(ocr):
    red_on_blue = 1 - picture("OPEN") * torch.tensor([1.0, 1.0, 0.3])[:, None, None]
    assert score(ocr, red_on_blue, "OPEN") == 1.0


def test_red_and_blue_are_not_swapped_on_the_way_to_the_engine(ocr, monkeypatch):
    seen = []
    monkeypatch.setattr(ocr._readers, "read", lambda images: [seen.append(i) or [] for i in images])
    red = torch.zeros(1, 3, 40, 50)
    red[:, 0] = 1.0
    ocr.score(red, [Prompt('"x"')])
    assert seen[0].shape == (40, 50, 3)
    assert seen[0].dtype == np.uint8
    assert (seen[0] == [255, 0, 0]).all()


def test_lines_are_joined_from_top_to_bottom(ocr):
    poster = picture("Fresh Bread\nDaily, 7 to 9!\n(no cash)", size=(256, 320), letters=36)
    assert score(ocr, poster, "Fresh Bread Daily, 7 to 9! (no cash)") == 1.0


def test_an_image_without_text_scores_0(ocr):
    for level in (0.0, 0.5, 1.0):
        scores = ocr.score(torch.full((1, 3, 64, 64), level), [Prompt('"OPEN"')])
        assert scores.value.tolist() == [0.0]
        assert scores.extras["exact"].tolist() == [0.0]
        assert math.isnan(scores.extras["confidence"].item())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("bread", 1.0),  # all of it
        ("READ", 1.0),  # part of what was read
        ("breed", 0.8),  # one of five wrong
        ("breads", 5 / 6),  # one of six missing
        ("fresh bread", 0.5),  # five of ten missing
        ("XO", 0.0),  # more edits than characters: not below 0
    ],
)
def test_the_score_is_one_minus_the_share_of_wrong_characters(ocr, wanted, expected):
    assert score(ocr, picture("Bread"), wanted) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "wanted", "expected"),
    [
        ({"match": "substring"}, "bread", 1.0),
        (
            {"match": "substring"},
            "breed",
            0.0,
        ),  # published: all else counts as soon as one is wrong
        ({"match": "nearest"}, "breed", 0.8),
        ({"match": "whole"}, "bread", 0.0),
        ({"match": "whole", "lines": "best"}, "bread", 1.0),
        ({"match": "whole", "lines": "best"}, "breed", 0.8),
        ({"match": "whole"}, "bread since 1912", 1.0),
        ({"match": "whole", "lines": "best"}, "bread since 1912", 9 / 14),
    ],
)
def test_match_and_lines_say_what_other_text_costs(options, wanted, expected):
    sign = picture("Bread\nsince 1912", size=(128, 256), letters=36)
    assert score(OCR(**options), sign, wanted) == pytest.approx(expected, abs=1e-6)


def test_exact_and_confidence_are_recorded(ocr):
    images = torch.stack([picture("Bread")] * 2)
    scores = ocr.score(images, [Prompt('"bread"'), Prompt('"breed"')])
    assert scores.extras["exact"].tolist() == [1.0, 0.0]
    assert (scores.extras["confidence"] > 0.9).all()
    assert (scores.extras["confidence"] <= 1.0).all()
    assert scores.value.dtype is torch.float32


def test_what_is_read_without_confidence_is_left_out():
    sure = OCR(min_confidence=1.0)
    assert score(sure, picture("OPEN"), "OPEN") == 0.0
    assert sure.known_answers() == ()


def test_values_outside_of_the_range_are_those_at_its_ends(ocr):
    image = picture("OPEN")
    far = torch.where(image > 0.5, image + 0.3, image - 0.3)
    assert score(ocr, far, "OPEN") == score(ocr, image, "OPEN") == 1.0


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_image_that_is_not_finite_is_invalid_and_its_neighbours_are_not(ocr, bad):
    images = torch.stack([picture("OPEN")] * 3)
    images[1, 2, 5, 5] = bad
    scores = ocr.score(images, [Prompt('"OPEN"')] * 3)
    for values in (scores.value, *scores.extras.values()):
        assert values.isnan().tolist() == [False, True, False]


def test_half_precision_images_are_scored_in_float32(ocr):
    scores = ocr.score(picture("OPEN")[None].bfloat16(), [Prompt('"OPEN"')])
    assert scores.value.dtype is torch.float32
    assert scores.value.item() == 1.0


def test_one_prompt_without_a_text_is_an_error_before_anything_is_read(ocr, monkeypatch):
    monkeypatch.setattr(ocr._readers, "read", lambda images: pytest.fail("it read"))
    with pytest.raises(PromptError, match="'a cat' does not say which text"):
        ocr.score(torch.stack([picture("OPEN")] * 2), [Prompt('"OPEN"'), Prompt("a cat")])


def test_a_border_finds_text_that_touches_the_edge():
    cropped = picture("7", size=(24, 16), letters=32)
    assert score(OCR(), cropped, "7") == 0.0
    assert score(OCR(border=8, min_side=64), cropped, "7") == 1.0


@pytest.mark.slow
def test_handwritten_digits_of_8_pixels_are_read_once_enlarged():
    data, _ = halves()
    images = torch.from_numpy(data.images[:60]).float()[:, None].expand(-1, 3, -1, -1)
    prompts = [Prompt("a digit", {"digit": int(digit)}) for digit in data.digits[:60]]
    assert OCR(metadata_key="digit").score(images, prompts).value.mean() < 0.6
    enlarged = OCR(metadata_key="digit", match="whole", border=2, min_side=96)
    assert enlarged.score(images, prompts).value.mean() > 0.85


def test_the_engine_needs_no_network(monkeypatch):
    def refuse(*given, **named):
        raise AssertionError("it opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    lines = Engine(EngineOptions(320, 0.5, 32, 0)).read(np.full((64, 64, 3), 255, np.uint8))
    assert lines == []


def test_weights_that_are_not_installed_are_not_downloaded_but_an_error(monkeypatch):
    monkeypatch.setattr(engine, "_DETECTOR", "gone.onnx")
    with pytest.raises(ValueError, match=r"rapidocr has no gone\.onnx .*pip install") as caught:
        OCR()
    assert "\n" not in str(caught.value)
