"""Colours by a tiny random CLIP."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from zoo_geneval.colors import ColorNamer
from zoo_geneval.metadata import COLORS

from zoo.testing import some_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def namer(tiny):
    return ColorNamer(CPU, tiny["clip"], dtype=torch.float32, batch=4)


def crops(num):
    return list(some_images(num, 32))


def similarities(folder, images, name):
    """Cosines of each image and colour, in float64 from the model's embeddings one by one."""
    from transformers import CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(folder), CLIPTokenizer.from_pretrained(folder)

    def unit(vector):
        vector = vector.detach().double().numpy().reshape(-1)
        return vector / np.linalg.norm(vector)

    def text(sentence):
        return unit(
            model.get_text_features(**tokenizer(sentence, return_tensors="pt")).pooler_output
        )

    classifier = []
    for color in COLORS:
        sentences = (
            f"a photo of a {color} {name}",
            f"a photo of a {color}-colored {name}",
            f"a photo of a {color} object",
        )
        mean = np.mean([text(sentence) for sentence in sentences], axis=0)
        classifier.append(mean / np.linalg.norm(mean))
    mean = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    pixels = torch.tensor((images.double().numpy() - mean) / std).float()
    seen = [
        unit(model.get_image_features(pixel_values=each[None]).pooler_output) for each in pixels
    ]
    return np.array(seen) @ np.array(classifier).T


@pytest.mark.parametrize("name", ["dog", "computer mouse"])
def test_colors_agree_with_a_float64_version(namer, tiny, name):
    images = crops(40)
    cosines = similarities(tiny["clip"], torch.stack(images), name)
    first, second = np.sort(cosines, axis=1)[:, [-1, -2]].T
    clear = first - second > 1e-6
    found = namer.name(images, [name] * 40)
    expected = [COLORS[i] for i in cosines.argmax(1)]
    assert clear.sum() > 30
    assert [c for c, sure in zip(found, clear, strict=True) if sure] == [
        c for c, sure in zip(expected, clear, strict=True) if sure
    ]
    assert len(set(found)) > 3


def test_colors_depend_on_the_crop_and_its_class_alone(namer):
    images, names = crops(9), ["dog", "cup", "bus"] * 3
    once = namer.name(images, names)
    assert namer.name(images, names) == once
    assert namer.name(images[::-1], names[::-1]) == once[::-1]
    assert [namer.name([i], [n])[0] for i, n in zip(images, names, strict=True)] == once


def test_nothing_to_name_is_nothing_named(namer):
    assert namer.name([], []) == []


def test_a_clip_without_its_tokenizer_is_refused(tiny, tmp_path):
    folder = Path(shutil.copytree(tiny["clip"], tmp_path / "other"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="has a tokenizer of 2 words and a model of 190; its fol"):
        ColorNamer(CPU, str(folder), dtype=torch.float32, batch=4)


def test_a_model_of_another_kind_is_refused(tiny):
    with pytest.raises(
        ValueError, match=r"the CLIP '.*' cannot be loaded: it is of the type 'mask2"
    ):
        ColorNamer(CPU, tiny["detector"], dtype=torch.float32, batch=4)
