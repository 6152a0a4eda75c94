"""HPSv2: open_clip's layout read into transformers' CLIP, the resize, and files it refuses."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from tests.reward import clip_float64 as reference
from zoo.prompt import Prompt
from zoo.reward import open_clip, tiny_clip
from zoo.reward.hpsv2 import FILE, HPSv2, on_black
from zoo.testing.inputs import some_images

CPU = torch.device("cpu")
TEXTS = ["a red cube on a blue sphere", "two dogs", "", "x " * 99]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return HPSv2.write_tiny(tmp_path_factory.mktemp("hpsv2"))


def changed(options, folder, change) -> dict[str, str]:
    """The options of the same weights after `change` was at them."""
    saved = torch.load(options["weights"], weights_only=True)
    change(saved)
    torch.save(saved, folder / FILE)
    return {**options, "weights": str(folder / FILE)}


def test_scores_are_cosines_of_the_published_layout_in_float64(options):
    saved = torch.load(options["weights"], weights_only=True)["state_dict"]
    weights = {name: value.double() for name, value in saved.items()}
    images = some_images(4, 50)
    ids = reference.byte_tokens(TEXTS)
    wanted = reference.cosine(weights, on_black(images, 28), ids, "gelu")
    found = HPSv2(CPU, **options).score(images, [Prompt(text) for text in TEXTS])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-6)
    assert float(found.max() - found.min()) > 0.1


def test_weights_in_open_clips_layout_make_the_same_network(tmp_path):
    clip = tiny_clip.network(head=80, activation="gelu").eval()
    state = {name: value.clone() for name, value in clip.state_dict().items()}
    saved = {name: value.float() for name, value in reference.open_clip_layout(state).items()}
    made = open_clip.network(saved, "here", fix="")
    assert {k: v.tolist() for k, v in made.state_dict().items()} == {
        k: v.tolist() for k, v in state.items()
    }
    pixels, ids = torch.rand(2, 3, 28, 28), reference.byte_tokens(TEXTS[:2])
    with torch.no_grad():
        for network in (clip, made.eval()):
            network.seen = normalize(network.get_image_features(pixels).pooler_output)
            network.read = normalize(network.get_text_features(ids).pooler_output)
    assert torch.equal(clip.seen, made.seen)
    assert torch.equal(clip.read, made.read)


def test_weights_go_to_open_clips_layout_and_back():
    state = tiny_clip.network(head=80, activation="gelu").state_dict()
    wanted = reference.open_clip_layout(state)
    found = open_clip.published(state)
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        assert torch.equal(value.double(), wanted[name]), name


@pytest.mark.parametrize(("shape", "bars"), [((40, 80), (7, 0)), ((80, 40), (0, 7))])
def test_the_longer_side_is_resized_and_the_rest_is_black(shape, bars):
    found = on_black(torch.ones(1, 3, *shape), 28)
    black = on_black(torch.zeros(1, 3, 28, 28), 28)
    white = on_black(torch.ones(1, 3, 28, 28), 28)
    top, left = bars
    inside = torch.zeros(28, 28, dtype=torch.bool)
    inside[top : 28 - top, left : 28 - left] = True
    torch.testing.assert_close(found, torch.where(inside, white, black), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [28, 40, 333])
def test_square_images_are_pils_but_for_the_rounding(size):
    from zoo.reward.pil_resize import square, transformers_margin

    # Patches: noise goes over the edges of the range, where only PIL clamps.
    images = some_images(2, size)[1:]
    found, by_pil = on_black(images, 28), square(images, 28, transformers_margin)
    # Two roundings to 8 bits, each half a level; one is 0.015.
    assert float((found - by_pil).abs().max()) < 0.016


def test_entities_in_a_prompt_are_read_as_what_they_stand_for(options):
    reward, image = HPSv2(CPU, **options), some_images(1, 28)
    texts = ("cats &amp; dogs", "cats &amp;amp; dogs", "cats & dogs", "cats and dogs")
    found = [float(reward.score(image, [Prompt(text)])) for text in texts]
    assert found[0] == found[1] == found[2] != found[3]


def drop(name: str):
    return lambda saved: saved["state_dict"].pop(name)


def put(name: str, value: Tensor):
    return lambda saved: saved["state_dict"].update({name: value})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda saved: saved.pop("state_dict"), "are not HPSv2's: they have no state_dict"),
        (lambda saved: saved.update(state_dict=3), "hold no tensors by name"),
        (drop("visual.conv1.weight"), "no 'visual.conv1.weight'"),
        (drop("ln_final.bias"), "no 'ln_final.bias' .1 missing, 0 unknown"),
        (put("text_decoder.bias", torch.ones(1)), "'text_decoder.bias' is unknown"),
        (put("ln_final.bias", torch.ones(3)), r"'ln_final.bias' .* shape \[3\], which"),
        (put("visual.conv1.weight", torch.ones(1024, 3, 14, 14)), "CLIP of another size: widths"),
        (put("visual.conv1.weight", torch.ones(3)), "their shapes are others"),
    ],
)
def test_weights_of_something_else_are_refused(options, tmp_path, change, said):
    with pytest.raises(ValueError, match=said) as raised:
        HPSv2(CPU, **changed(options, tmp_path, change))
    assert "\n" not in str(raised.value)


def test_what_the_published_file_has_besides_is_left_alone(options, tmp_path):
    more = changed(options, tmp_path, lambda saved: saved.update(epoch=3, name="HPS"))
    images, prompts = some_images(2, 28), [Prompt(text) for text in TEXTS[:2]]
    wanted = HPSv2(CPU, **options).score(images, prompts)
    assert torch.equal(HPSv2(CPU, **more).score(images, prompts), wanted)
