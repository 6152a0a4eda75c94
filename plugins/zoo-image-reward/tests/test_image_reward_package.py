"""The package in its own environment; zoo's slow tests run this file there, with random weights."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from zoo_reward_worker import Prompt
from zoo_reward_worker.options import options

WHERE = "runs in the environment of `zoo env create`: tests/isolated/test_image_reward.py does so"
import_torchvision = pytest.importorskip(
    "zoo_image_reward.operators", reason=WHERE
).import_torchvision
ImageRewardPackage = pytest.importorskip("zoo_image_reward.reward").ImageRewardPackage

# The published med_config.json, but for its size; the vision encoder's is in the code.
CONFIG = {
    "attention_probs_dropout_prob": 0.1,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 768,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "model_type": "bert",
    "num_attention_heads": 12,
    "num_hidden_layers": 1,
    "pad_token_id": 0,
    "type_vocab_size": 2,
    "vocab_size": 40,
    "encoder_width": 768,
    "add_cross_attention": True,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "blue", "circle", "square"]
PROMPTS = [Prompt("a red circle"), Prompt("a blue square"), Prompt("")]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image_reward")
    config = folder / "med_config.json"
    config.write_text(json.dumps(CONFIG))
    vocabulary = folder / "bert-base-uncased"
    vocabulary.mkdir()
    (vocabulary / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    with pytest.MonkeyPatch.context() as patch:
        # A folder of that name comes before the hub.
        patch.chdir(folder)
        import_torchvision()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ImageReward.ImageReward import ImageReward
        torch.manual_seed(0)
        model = ImageReward(med_config=str(config)).eval()
        # As initialised, the last layers make next to nothing of their input.
        for value in model.mlp.parameters():
            value.data.normal_(0, value.shape[-1] ** -0.5)
        torch.save(model.state_dict(), folder / "weights.pt")
        yield {"model": str(folder / "weights.pt"), "med_config": str(config)}, model


@pytest.fixture(scope="module")
def reward(files):
    return ImageRewardPackage("cpu", **files[0])


def some_images(num):
    return np.random.RandomState(0).randint(0, 256, (num, 40, 60, 3), np.uint8)


def test_scores_are_those_of_the_package(files, reward):
    images = some_images(3)
    found = reward.score(images, PROMPTS)
    with torch.no_grad():
        wanted = [
            files[1].score(prompt.text, Image.fromarray(image))
            for prompt, image in zip(PROMPTS, images, strict=True)
        ]
    assert (found.shape, found.dtype) == ((3,), np.float32)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    assert np.ptp(found) > 1e-3


def test_scores_follow_their_images_and_prompts(reward):
    images = some_images(3)
    once = reward.score(images, PROMPTS)
    order = [2, 0, 1]
    turned = reward.score(images[order], [PROMPTS[i] for i in order])
    np.testing.assert_array_equal(turned, once[order])
    np.testing.assert_array_equal(reward.score(images[1:2], PROMPTS[1:2]), once[1:2])


def test_the_package_resizes_crops_and_normalises_as_pil_does(files):
    image = Image.fromarray(some_images(1)[0])
    scaled = image.resize((int(224 * 60 / 40), 224), Image.Resampling.BICUBIC)
    left = (scaled.width - 224) // 2
    pixels = np.asarray(scaled.crop((left, 0, left + 224, 224)), np.float64) / 255
    wanted = (pixels - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    found = files[1].preprocess(image).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


def test_an_operator_of_torchvision_that_is_not_there_raises():
    import_torchvision()
    import torchvision

    if torchvision.extension._has_ops():
        pytest.skip("torchvision's library was loaded: its operators are there")
    with pytest.raises(NotImplementedError):
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)


@pytest.mark.parametrize("name", ["model", "med_config"])
def test_a_file_that_is_not_there_is_refused_in_a_line(files, name):
    with pytest.raises(ValueError, match=f"^{name} 'nowhere.pt' is no file .*$"):
        ImageRewardPackage("cpu", **{**files[0], name: "nowhere.pt"})


def test_videos_are_refused(reward):
    with pytest.raises(ValueError, match="height, width, 3"):
        reward.score(np.zeros((1, 2, 8, 8, 3), np.uint8), PROMPTS[:1])


def test_options_can_be_written_in_a_recipe():
    assert {
        name: schema.get("default") for name, schema in options(ImageRewardPackage).items()
    } == {
        "model": "ImageReward-v1.0",
        "med_config": None,
        "download_root": None,
    }
