"""What a reward says that its networks take, before they are loaded, is what they take."""

import pytest
import torch

from zoo.reward.aesthetic import Aesthetic
from zoo.reward.base import NetworkBytes, Reward
from zoo.reward.clipscore import ClipScore
from zoo.reward.digits import Digit
from zoo.reward.hpsv2 import HPSv2
from zoo.reward.image_reward import ImageReward
from zoo.reward.jpeg import JpegCompressibility
from zoo.reward.networks import sizes
from zoo.reward.pickscore import PickScore

CPU = torch.device("cpu")
HOME = {"run_on": None, "offload": False}


def networks(reward):
    """All modules of a reward."""
    held = [*vars(reward).values(), *vars(getattr(reward, "_clip", None) or reward).values()]
    return {id(each): each for each in held if isinstance(each, torch.nn.Module)}.values()


@pytest.mark.fast_cases(4)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cls", [PickScore, ClipScore, HPSv2, Aesthetic, ImageReward])
def test_it_is_what_the_loaded_networks_take(cls, dtype, tmp_path, monkeypatch):
    options = cls.write_tiny(tmp_path)
    reward = cls(CPU, **options, dtype=dtype)
    numbers = sum(p.numel() for network in networks(reward) for p in network.parameters())
    monkeypatch.setattr("zoo.storage.tensor_file.TensorFile.__getitem__", lambda self, name: 1 / 0)
    found = cls.network_bytes({**HOME, **options, "dtype": dtype})
    # A few layers on top are float32, or left out.
    assert found.size == pytest.approx(numbers * getattr(torch, dtype).itemsize, rel=0.05)
    assert found.off == "never"


def test_the_published_ones_are_known_without_a_file(monkeypatch):
    monkeypatch.setattr("transformers.PretrainedConfig.from_pretrained", lambda *_, **__: 1 / 0)
    known = {
        PickScore: ({"model": "yuvalkirstain/PickScore_v1"}, 3.94e9),
        ClipScore: ({"model": "openai/clip-vit-large-patch14"}, 1.71e9),
        HPSv2: ({"weights": "xswu/HPSv2"}, 3.94e9),
        Aesthetic: ({"model": "openai/clip-vit-large-patch14"}, 1.22e9),
        ImageReward: ({"weights": "THUDM/ImageReward"}, 1.785e9),
    }
    for cls, (options, size) in known.items():
        found = cls.network_bytes({**HOME, **options, "dtype": "float32"})
        assert found.size == pytest.approx(size, rel=0.01), cls


def test_the_published_sizes_are_those_of_the_architectures():
    from transformers import CLIPConfig, CLIPModel

    def shape(width, depth, heads):
        return {
            "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": depth,
            "num_attention_heads": heads, "patch_size": 14, "image_size": 224,
        }  # fmt: skip

    for text, vision, projection, known in (
        (shape(1024, 24, 16), shape(1280, 32, 16), 1024, "yuvalkirstain/PickScore_v1"),
        (shape(768, 12, 12), shape(1024, 24, 16), 768, "openai/clip-vit-large-patch14"),
    ):
        with torch.device("meta"):
            model = CLIPModel(
                CLIPConfig(text_config=text, vision_config=vision, projection_dim=projection)
            )
        for texts in (True, False):
            parts = model.named_parameters()
            wanted = sum(p.numel() for name, p in parts if texts or not name.startswith("text_"))
            options = {**HOME, "model": known, "dtype": "float16"}
            assert sizes.clip_bytes(options, texts=texts) == NetworkBytes(2 * wanted)


@pytest.mark.parametrize(
    ("where", "size", "off"),
    [
        ({"run_on": "cpu"}, 4, "always"),
        ({"run_on": "cuda:1"}, 0, "never"),
        ({"offload": True}, 4, "resting"),
    ],
)
def test_where_they_are_follows_the_options(where, size, off):
    options = {**HOME, "model": "openai/clip-vit-large-patch14", "dtype": "float32", **where}
    assert ClipScore.network_bytes(options) == NetworkBytes(size * 427_616_513, off)


@pytest.mark.parametrize("cls", [PickScore, HPSv2, ImageReward])
def test_of_a_folder_without_weights_nothing_is_known(cls, tmp_path):
    options = {"model": str(tmp_path), "weights": str(tmp_path), "dtype": "float32"}
    assert cls.network_bytes({**HOME, **options}) is None


def test_one_without_networks_says_so_and_others_do_not_by_default():
    assert JpegCompressibility.network_bytes({}) == NetworkBytes(0)
    taken = sum(p.nbytes for p in Digit(CPU)._classifier.parameters())
    assert Digit.network_bytes({}) == NetworkBytes(taken)
    assert Reward.network_bytes({}) is None
