"""CLIPScore: against CLIP's equations in float64, with its own resize written out."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.reward import clip_float64 as reference
from zoo.prompt import Prompt
from zoo.reward.clipscore import ClipScore, bilinear_square
from zoo.testing.inputs import some_images

CPU = torch.device("cpu")
TEXTS = ["a red cube on a blue sphere", "two dogs", "", "x " * 99]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return ClipScore.write_tiny(tmp_path_factory.mktemp("clipscore"))


@pytest.fixture(scope="module")
def reward(options):
    return ClipScore(CPU, **options)


def resized(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear in one direction, the triangle widened to the scale, in float64."""
    pixels = np.moveaxis(pixels, axis, 0)
    scale = len(pixels) / size
    centre = (np.arange(size) + 0.5) * scale
    x = np.abs(np.arange(len(pixels)) + 0.5 - centre[:, None]) / max(scale, 1.0)
    weight = np.maximum(1 - x, 0)
    return np.moveaxis(np.tensordot(weight / weight.sum(1, keepdims=True), pixels, 1), 0, axis)


def prepared(image: Tensor, size: int) -> np.ndarray:
    """[3, size, size] in float64: resized, the middle, CLIP's mean and deviation."""
    shape = image.shape[1:]
    tall, wide = (int(size * side / min(shape)) for side in shape)
    pixels = resized(resized(image.double().numpy(), tall, 1), wide, 2)
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    square = pixels[:, top : top + size, left : left + size].transpose(1, 2, 0)
    mean, std = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    return ((square - mean) / std).transpose(2, 0, 1)


@pytest.mark.parametrize("shape", [(64, 64), (40, 71), (70, 41), (8, 9), (28, 28), (512, 300)])
@pytest.mark.parametrize("kind", [0, 1])
def test_images_are_resized_bilinearly_and_not_rounded(kind, shape):
    image = some_images(2, max(shape))[kind, :, : shape[0], : shape[1]]
    found = bilinear_square(image[None], 28)[0]
    np.testing.assert_allclose(found, prepared(image, 28), rtol=0, atol=1e-5)


def test_scores_are_clips_cosines_in_float64(options, reward):
    state = load_file(f"{options['model']}/model.safetensors")
    weights = reference.open_clip_layout(state)
    images = some_images(4, 50)
    pixels = torch.stack([torch.tensor(prepared(image, 28)) for image in images])
    wanted = reference.cosine(weights, pixels, reference.byte_tokens(TEXTS), "quick_gelu")
    found = reward.score(images, [Prompt(text) for text in TEXTS])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-6)
    assert float(found.max() - found.min()) > 0.1


def test_the_tokenizer_is_the_models_own_unless_another_is_named(options, tmp_path):
    from zoo.reward import tiny_clip

    tiny_clip.write_tokenizer(tmp_path)
    images, prompts = some_images(1, 28), [Prompt("a dog")]
    other = ClipScore(CPU, **options, tokenizer=str(tmp_path)).score(images, prompts)
    assert torch.equal(other, ClipScore(CPU, **options).score(images, prompts))
