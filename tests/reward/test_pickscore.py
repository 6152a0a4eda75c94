"""PickScore: the formula in float64, and the models that are refused."""

from math import log

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.reward import clip_float64 as reference
from zoo.prompt import Prompt
from zoo.reward.clipscore import ClipScore
from zoo.reward.pickscore import PickScore
from zoo.reward.pil_resize import square, transformers_margin
from zoo.testing.inputs import some_images

CPU = torch.device("cpu")
TEXTS = ["a red cube on a blue sphere", "two dogs", "", "x " * 99]


@pytest.fixture
def options(tmp_path):
    return PickScore.write_tiny(tmp_path)


def with_scale(options, scale: float) -> None:
    file = f"{options['model']}/model.safetensors"
    state = load_file(file)
    state["logit_scale"] = torch.tensor(log(scale))
    save_file(state, file, metadata={"format": "pt"})


@pytest.mark.parametrize("scale", [100.0, 40.0])
def test_scores_are_the_scaled_cosine_over_26(options, scale):
    with_scale(options, scale)
    weights = reference.open_clip_layout(load_file(f"{options['model']}/model.safetensors"))
    images = some_images(4, 50)
    pixels = square(images, 28, transformers_margin)
    cosines = reference.cosine(weights, pixels, reference.byte_tokens(TEXTS), "gelu")
    found = PickScore(CPU, **options).score(images, [Prompt(text) for text in TEXTS])
    torch.testing.assert_close(found.double(), scale * cosines / 26, rtol=0, atol=1e-5)


def test_the_scale_is_exact_in_bfloat16_too(options):
    images, prompts = some_images(4, 28), [Prompt(text) for text in TEXTS]
    scores = []
    for scale in (100.0, 50.0):
        with_scale(options, scale)
        scores.append(PickScore(CPU, **options, dtype="bfloat16").score(images, prompts))
    # A scale in bfloat16 would be 99 and 50.
    torch.testing.assert_close(scores[0], 2 * scores[1], rtol=1e-6, atol=0)


def test_openais_clips_are_refused(tmp_path):
    other = ClipScore.write_tiny(tmp_path)["model"]
    with pytest.raises(ValueError, match=r"^the model .* activation is quick_gelu.*PickScore_v1"):
        PickScore(CPU, model=other, tokenizer=other)
