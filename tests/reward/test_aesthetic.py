"""The aesthetic predictor: its layers on CLIP's embedding in float64, and files it refuses."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import linear

from tests.reward import clip_float64 as reference
from zoo.prompt import Prompt
from zoo.reward.aesthetic import FILE, Aesthetic
from zoo.reward.pil_resize import square, transformers_margin
from zoo.testing.inputs import some_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return Aesthetic.write_tiny(tmp_path_factory.mktemp("aesthetic"))


def changed(options, folder, change) -> dict[str, str]:
    """The options of the same weights after `change` was at them."""
    weights = torch.load(options["weights"], weights_only=True)
    change(weights)
    torch.save(weights, folder / FILE)
    return {**options, "weights": str(folder / FILE)}


def test_scores_are_the_layers_on_the_embedding_in_float64(options):
    clip = reference.open_clip_layout(load_file(f"{options['model']}/model.safetensors"))
    layers = torch.load(options["weights"], weights_only=True)
    images = some_images(4, 50)
    x = reference.image_embedding(clip, square(images, 28, transformers_margin), "quick_gelu")
    for i in (0, 2, 4, 6, 7):
        x = linear(x, layers[f"layers.{i}.weight"].double(), layers[f"layers.{i}.bias"].double())
    found = Aesthetic(CPU, **options).score(images, [Prompt("a dog")] * 4)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), x.squeeze(1), rtol=0, atol=1e-6)
    assert float(found.max() - found.min()) > 1e-3


def test_the_prompt_is_not_read(options):
    reward, images = Aesthetic(CPU, **options), some_images(2, 28)
    one = reward.score(images, [Prompt("a dog"), Prompt("")])
    assert torch.equal(one, reward.score(images, [Prompt("b " * 999), Prompt("two cats")]))


def test_a_file_of_any_name_and_a_folder_are_read(options, tmp_path):
    images, prompts = some_images(2, 28), [Prompt("")] * 2
    wanted = Aesthetic(CPU, **options).score(images, prompts)
    moved = tmp_path / "sac+logos+ava1-l14-linearMSE.pth"
    moved.write_bytes(Path(options["weights"]).read_bytes())
    for weights in (str(moved), options["model"]):
        found = Aesthetic(CPU, **{**options, "weights": weights}).score(images, prompts)
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("layers.7.bias"), "no 'layers.7.bias'"),
        (lambda w: w.update({"layers.1.bias": torch.ones(1)}), "'layers.1.bias' is unknown"),
        (lambda w: w.update({"layers.7.weight": torch.ones(2, 8)}), "no five layers to one number"),
        (lambda w: w.update({"layers.2.bias": torch.ones(9)}), "no five layers to one number"),
        (lambda w: w.update({"layers.0.weight": torch.ones(64, 768)}), "of another size: .* 32 "),
        (lambda w: w.update({"layers.0.bias": 3}), "no tensors by name"),
        (lambda w: w.clear(), "not the aesthetic predictor's"),
    ],
)
def test_weights_of_something_else_are_refused(options, tmp_path, change, said):
    with pytest.raises(ValueError, match=said) as raised:
        Aesthetic(CPU, **changed(options, tmp_path, change))
    assert "\n" not in str(raised.value)
