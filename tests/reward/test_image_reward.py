"""ImageReward: its preprocessing and its network against float64 versions, and files it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import layer_norm, linear, unfold

from zoo.prompt import Prompt
from zoo.reward.image_reward import FILE, ImageReward, normalise
from zoo.testing.inputs import some_images

CPU = torch.device("cpu")
KINDS = ("noise", "patches")
PROMPTS = [
    Prompt("a red cube, on a blue sphere!"),
    Prompt("Two DOGS"),
    Prompt(""),
    Prompt("x " * 99),
]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return ImageReward.write_tiny(tmp_path_factory.mktemp("image_reward"))


@pytest.fixture(scope="module")
def reward(options):
    return ImageReward(CPU, **options)


def changed(options, folder: Path, change) -> dict[str, str]:
    """The options of the same weights after `change` was at them."""
    weights = torch.load(options["weights"], weights_only=True)
    change(weights)
    torch.save(weights, folder / FILE)
    return {**options, "weights": str(folder / FILE)}


def pil_bicubic(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """PIL's resize in one direction, in float64: its kernel, widened to the scale, and 8 bits."""
    pixels = np.moveaxis(pixels, axis, 0)
    scale = len(pixels) / size
    centre = (np.arange(size) + 0.5) * scale
    x = np.abs(np.arange(len(pixels)) + 0.5 - centre[:, None]) / max(scale, 1.0)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weight = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    resized = np.tensordot(weight / weight.sum(1, keepdims=True), pixels, 1)
    return np.moveaxis(np.clip(np.floor(resized + 0.5), 0, 255), 0, axis)


def by_numpy(pixels: np.ndarray, size: int) -> np.ndarray:
    """The square in the middle of 8-bit pixels, by CLIP's mean and deviation."""
    top, left = (round((side - size) / 2) for side in pixels.shape[:2])
    square = pixels[top : top + size, left : left + size].astype(np.float64) / 255
    return (square - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape", [(64, 64), (40, 70), (70, 41), (8, 8), (24, 24), (24, 99), (512, 300)]
)
def test_pixels_are_those_of_pil_to_the_bit(kind, shape):
    # Patches are so smooth that many of the resized pixels are half-way between two levels.
    image = some_images(2, max(shape))[KINDS.index(kind), :, : shape[0], : shape[1]]
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    size = 24
    tall, wide = (int(size * side / min(shape)) for side in shape)
    by_pil = np.asarray(Image.fromarray(pixels).resize((wide, tall), Image.Resampling.BICUBIC))
    found = normalise(image[None], size)[0].permute(1, 2, 0)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, by_numpy(by_pil, size), rtol=0, atol=2e-6)
    in_float64 = pil_bicubic(pil_bicubic(pixels.astype(np.float64), wide, 1), tall, 0)
    # Without PIL's fixed point a value half-way between two levels may go the other way.
    assert np.abs(by_pil - in_float64).max() <= 1


def attend(x: Tensor, over: Tensor, weights, query: str, key: str, value: str, mask=None) -> Tensor:
    """Attention in heads of 64, before its output projection."""
    q, k, v = (
        linear(of, weights[f"{name}.weight"], weights[f"{name}.bias"]).unflatten(-1, (-1, 64))
        for of, name in ((x, query), (over, key), (over, value))
    )
    logits = torch.einsum("bqhc,bkhc->bhqk", q, k) / 8
    if mask is not None:
        logits = logits.masked_fill(mask[:, None, None] == 0, -torch.inf)
    return torch.einsum("bhqk,bkhc->bqhc", logits.softmax(-1), v).flatten(2)


def blip(weights: dict[str, Tensor], ids: Tensor, mask: Tensor, pixels: Tensor) -> Tensor:
    """The score from published weights: BLIP's equations in the dtype of the weights."""

    def norm(x: Tensor, name: str, eps: float) -> Tensor:
        return layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)

    def dense(x: Tensor, name: str) -> Tensor:
        return linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    gelu = torch.nn.functional.gelu
    v = "blip.visual_encoder"
    kernel = weights[f"{v}.patch_embed.proj.weight"]
    patches = unfold(pixels, kernel.shape[-1], stride=kernel.shape[-1]).transpose(1, 2)
    x = linear(patches, kernel.flatten(1), weights[f"{v}.patch_embed.proj.bias"])
    x = torch.cat([weights[f"{v}.cls_token"].expand(len(x), -1, -1), x], 1)
    x = x + weights[f"{v}.pos_embed"]
    for i in range(2):
        b, y = f"{v}.blocks.{i}", norm(x, f"{v}.blocks.{i}.norm1", 1e-6)
        parts = {}
        for j, name in enumerate("qkv"):
            for kind in ("weight", "bias"):
                parts[f"{name}.{kind}"] = weights[f"{b}.attn.qkv.{kind}"].chunk(3)[j]
        x = x + dense(attend(y, y, parts, "q", "k", "v"), f"{b}.attn.proj")
        x = x + dense(gelu(dense(norm(x, f"{b}.norm2", 1e-6), f"{b}.mlp.fc1")), f"{b}.mlp.fc2")
    seen = norm(x, f"{v}.norm", 1e-6)
    e = "blip.text_encoder.embeddings"
    positions = weights[f"{e}.position_embeddings.weight"][: ids.shape[1]]
    x = norm(weights[f"{e}.word_embeddings.weight"][ids] + positions, f"{e}.LayerNorm", 1e-12)
    for i in range(2):
        layer = f"blip.text_encoder.encoder.layer.{i}"
        for part, over, visible in (("attention", None, mask), ("crossattention", seen, None)):
            names = [f"{layer}.{part}.self.{name}" for name in ("query", "key", "value")]
            y = attend(x, x if over is None else over, weights, *names, mask=visible)
            out = f"{layer}.{part}.output"
            x = norm(x + dense(y, f"{out}.dense"), f"{out}.LayerNorm", 1e-12)
        y = dense(gelu(dense(x, f"{layer}.intermediate.dense")), f"{layer}.output.dense")
        x = norm(x + y, f"{layer}.output.LayerNorm", 1e-12)
    x = x[:, 0]
    for i in (0, 2, 4, 6, 7):
        x = dense(x, f"mlp.layers.{i}")
    return (x.squeeze(1) - 0.16717362830052426) / 1.0333394966054072


def test_scores_are_blips_in_float64(options, reward):
    from transformers import BertTokenizer

    weights = {k: v.double() for k, v in torch.load(options["weights"], weights_only=True).items()}
    images = some_images(4, 50)
    tokens = BertTokenizer.from_pretrained(options["tokenizer"])(
        [prompt.text for prompt in PROMPTS],
        padding="max_length",
        truncation=True,
        max_length=35,
        return_tensors="pt",
    )
    pixels = normalise(images, 32).double()
    wanted = blip(weights, tokens["input_ids"], tokens["attention_mask"], pixels)
    found = reward.score(images, PROMPTS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=1e-5)
    assert float(found.max() - found.min()) > 0.1


def test_the_prompt_and_the_image_both_matter(reward):
    images = some_images(2, 32)
    prompts = [Prompt("a red cube"), Prompt("a dog")]
    one, other = reward.score(images[:1].expand(2, -1, -1, -1), prompts).tolist()
    assert abs(one - other) > 1e-2
    one, other = reward.score(images, prompts[:1] * 2).tolist()
    assert abs(one - other) > 1e-2


def test_a_prompt_is_read_to_its_35th_token(reward):
    image = some_images(1, 32)
    # [CLS] and [SEP] are two of them.
    scores = [
        float(reward.score(image, [Prompt("b " * num + end)]))
        for num, end in ((33, ""), (33, "dog"), (32, "d"))
    ]
    assert scores[0] == scores[1] != scores[2]


def test_the_two_tokens_of_blip_may_be_written_in_a_prompt(reward):
    image = some_images(1, 32)
    special, plain = (
        float(reward.score(image, [Prompt(text)])) for text in ("a [ENC] b", "a enc b")
    )
    assert special != plain


def test_an_image_that_is_not_finite_is_not_scored_and_the_others_are(reward):
    images = some_images(3, 32)
    wanted = reward.score(images, PROMPTS[:3])
    images[1, 0, 3, 3] = torch.nan
    found = reward.score(images, PROMPTS[:3])
    assert found.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found[[0, 2]], wanted[[0, 2]])


def test_images_are_rounded_to_8_bits_and_clamped(reward):
    images = some_images(2, 32)
    rounded = (images * 255).round() / 255
    assert torch.equal(reward.score(images, PROMPTS[:2]), reward.score(rounded, PROMPTS[:2]))
    over = reward.score(torch.full((1, 3, 32, 32), 1.7), PROMPTS[:1])
    assert torch.equal(over, reward.score(torch.ones(1, 3, 32, 32), PROMPTS[:1]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_smaller_dtypes_score_nearly_the_same(options, reward, dtype):
    images = some_images(4, 32)
    scores = ImageReward(CPU, **options, dtype=dtype).score(images, PROMPTS)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, reward.score(images, PROMPTS), rtol=0, atol=0.1)


def test_loading_and_writing_draw_nothing_from_the_runs_generator(tmp_path):
    before = torch.get_rng_state()
    ImageReward(CPU, **ImageReward.write_tiny(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_published_file_has_besides_is_left_alone(options, reward, tmp_path):
    def add(weights):
        weights["blip.text_encoder.embeddings.position_ids"] = torch.arange(40)[None]
        weights["blip.vision_proj.weight"] = torch.zeros(256, 64)

    images = some_images(2, 32)
    again = ImageReward(CPU, **changed(options, tmp_path, add)).score(images, PROMPTS[:2])
    assert torch.equal(again, reward.score(images, PROMPTS[:2]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("blip.visual_encoder.cls_token"), "no 'blip.visual_encoder.cls_token'"),
        (lambda w: w.pop("mlp.layers.7.bias"), "no 'mlp.layers.7.bias' .1 missing, 0 unknown"),
        (
            lambda w: w.update({"mlp.layers.8.bias": torch.ones(1)}),
            "'mlp.layers.8.bias' is unknown",
        ),
        (lambda w: w.update({"mlp.layers.7.bias": torch.ones(2)}), r"shape \[2\], not \[1\]"),
        (lambda w: w.clear(), "are not ImageReward's"),
    ],
)
def test_weights_of_something_else_are_refused(options, tmp_path, change, said):
    with pytest.raises(ValueError, match=said) as raised:
        ImageReward(CPU, **changed(options, tmp_path, change))
    assert "\n" not in str(raised.value)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


@pytest.mark.parametrize("what", [Harmful(), [1, 2], "text"])
def test_a_file_that_holds_more_than_tensors_is_refused_and_not_run(
    options, tmp_path, monkeypatch, what
):
    monkeypatch.chdir(tmp_path)
    if what == "text":
        (tmp_path / FILE).write_text("<html>404</html>")
    else:
        torch.save(what, tmp_path / FILE)
    with pytest.raises(ValueError, match=r"^the weights .*tensors.*$") as raised:
        ImageReward(CPU, **{**options, "weights": str(tmp_path / FILE)})
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("option", ["weights", "tokenizer"])
@pytest.mark.parametrize("source", ["somewhere/else", "./no/such/file.pt"])
def test_what_cannot_be_had_is_said_in_a_line(options, monkeypatch, option, source):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        ValueError, match=f"^the {option} '{source}' .* the [hH]ub.*; name a .*$"
    ) as said:
        ImageReward(CPU, **{**options, option: source})
    assert "\n" not in str(said.value)


def test_a_tokenizer_of_other_weights_is_refused(options, tmp_path):
    from transformers import BertTokenizer

    BertTokenizer(
        vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5}
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^the tokenizer .* has 8 tokens.* are of 120; .*$"):
        ImageReward(CPU, **{**options, "tokenizer": str(tmp_path)})


def test_what_is_beyond_the_limit_makes_no_difference(options, reward):
    (limit,) = ImageReward.text_limits(options)
    assert (limit.encoder, limit.tokens, limit.option) == ("BLIP", 35, None)
    # A letter is a token; begin and end are two.
    whole = "a" * 33
    assert limit.count([whole, f"{whole}b"]) == [35, 36]
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    texts = [whole, f"{whole[:-1]}b", f"{whole}b", f"{whole}c"]
    one, other, cut, cut_too = (reward.score(image, [Prompt(text)]).item() for text in texts)
    assert one != other
    assert cut == cut_too
