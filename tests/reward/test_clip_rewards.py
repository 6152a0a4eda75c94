"""The rewards on CLIP against a float64 version written out from the weights, and bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import gelu, layer_norm, linear

from zoo.prompt import Prompt
from zoo.reward.aesthetic import LAYERS, Aesthetic
from zoo.reward.clipscore import ClipScore
from zoo.reward.hpsv2 import HPSv2
from zoo.reward.judge import Judge, WeightedReward
from zoo.reward.networks.pixels import clip_pixels, float_pixels, padded_pixels
from zoo.reward.pickscore import PickScore

CPU = torch.device("cpu")
ALL = {"pickscore": PickScore, "clipscore": ClipScore, "hpsv2": HPSv2, "aesthetic": Aesthetic}
EACH = pytest.mark.parametrize("name", list(ALL))
WITH_TEXT = pytest.mark.parametrize("name", ["pickscore", "clipscore", "hpsv2"])
PROMPTS = [
    Prompt("a red cat"),
    Prompt("Two DOGS"),
    Prompt(""),
    Prompt("x" * 10_000),
    Prompt("😀 🐈"),
]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return {name: cls.write_tiny(folder / name) for name, cls in ALL.items()}


@pytest.fixture(scope="module")
def rewards(options):
    return {name: cls(CPU, **options[name]) for name, cls in ALL.items()}


def images(num=5, height=40, width=48):
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(1))


def attention(x, weights, prefix, heads, mask):
    """Multi-head attention, in float64."""

    def part(name):
        return linear(x, weights[f"{prefix}.{name}.weight"], weights[f"{prefix}.{name}.bias"])

    tokens, width = x.shape[1:]
    q, k, v = (
        part(f"{each}_proj").reshape(-1, tokens, heads, width // heads).transpose(1, 2)
        for each in "qkv"
    )
    scores = q @ k.transpose(-1, -2) / (width // heads) ** 0.5 + mask
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, tokens, width)
    out = f"{prefix}.out_proj"
    return linear(mixed, weights[f"{out}.weight"], weights[f"{out}.bias"])


def tower(x, weights, prefix, mask, activation):
    def norm(x, name):
        return layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])

    for i in range(2):
        block = f"{prefix}.encoder.layers.{i}"
        inner = norm(x, f"{block}.layer_norm1")
        x = x + attention(inner, weights, f"{block}.self_attn", 2, mask)
        inner = norm(x, f"{block}.layer_norm2")
        inner = linear(inner, weights[f"{block}.mlp.fc1.weight"], weights[f"{block}.mlp.fc1.bias"])
        inner = activation(inner)
        x = x + linear(inner, weights[f"{block}.mlp.fc2.weight"], weights[f"{block}.mlp.fc2.bias"])
    return x


def image_embedding(pixels, weights, activation):
    """CLIP's vision tower: patches of 8, a class token, its state at the end."""
    prefix = "vision_model"
    kernel = weights[f"{prefix}.embeddings.patch_embedding.weight"]
    x = torch.nn.functional.conv2d(pixels, kernel, stride=8).flatten(2).transpose(1, 2)
    cls = weights[f"{prefix}.embeddings.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([cls, x], 1) + weights[f"{prefix}.embeddings.position_embedding.weight"]
    before = [weights[f"{prefix}.pre_layrnorm.{part}"] for part in ("weight", "bias")]
    x = tower(layer_norm(x, x.shape[-1:], *before), weights, prefix, 0.0, activation)[:, 0]
    after = [weights[f"{prefix}.post_layernorm.{part}"] for part in ("weight", "bias")]
    x = layer_norm(x, x.shape[-1:], *after) @ weights["visual_projection.weight"].T
    return x / x.norm(dim=-1, keepdim=True)


def text_embedding(ids, end, weights, activation):
    """CLIP's text tower: causal, its state at the first end of text."""
    prefix = "text_model"
    x = weights[f"{prefix}.embeddings.token_embedding.weight"][ids]
    x = x + weights[f"{prefix}.embeddings.position_embedding.weight"][: ids.shape[1]]
    mask = torch.full((ids.shape[1],) * 2, -torch.inf, dtype=torch.float64).triu(1)
    x = tower(x, weights, prefix, mask, activation)
    last = [weights[f"{prefix}.final_layer_norm.{part}"] for part in ("weight", "bias")]
    x = layer_norm(x, x.shape[-1:], *last)
    x = x[torch.arange(len(x)), (ids == end).int().argmax(1)] @ weights["text_projection.weight"].T
    return x / x.norm(dim=-1, keepdim=True)


def quick_gelu(x):
    return x * (1.702 * x).sigmoid()


def weights_of(options):
    return {k: v.double() for k, v in load_file(f"{options['model']}/model.safetensors").items()}


def from_open_clip(file):
    """transformers' names for open_clip's weights, found by hand for two layers a tower."""
    old = torch.load(file, weights_only=True)["state_dict"]
    new = {"logit_scale": old["logit_scale"]}
    new["text_projection.weight"] = old["text_projection"].T
    new["visual_projection.weight"] = old["visual.proj"].T
    embedding = "text_model.embeddings."
    new[f"{embedding}token_embedding.weight"] = old["token_embedding.weight"]
    new[f"{embedding}position_embedding.weight"] = old["positional_embedding"]
    embedding = "vision_model.embeddings."
    new[f"{embedding}class_embedding"] = old["visual.class_embedding"]
    new[f"{embedding}patch_embedding.weight"] = old["visual.conv1.weight"]
    new[f"{embedding}position_embedding.weight"] = old["visual.positional_embedding"]
    for p in ("weight", "bias"):
        new[f"text_model.final_layer_norm.{p}"] = old[f"ln_final.{p}"]
        new[f"vision_model.pre_layrnorm.{p}"] = old[f"visual.ln_pre.{p}"]
        new[f"vision_model.post_layernorm.{p}"] = old[f"visual.ln_post.{p}"]
        for theirs, ours in (("", "text_model"), ("visual.", "vision_model")):
            for i in (0, 1):
                a, b = f"{theirs}transformer.resblocks.{i}", f"{ours}.encoder.layers.{i}"
                whole = old[f"{a}.attn.in_proj_{p}"]
                third = len(whole) // 3
                new[f"{b}.self_attn.q_proj.{p}"] = whole[:third]
                new[f"{b}.self_attn.k_proj.{p}"] = whole[third : 2 * third]
                new[f"{b}.self_attn.v_proj.{p}"] = whole[2 * third :]
                new[f"{b}.self_attn.out_proj.{p}"] = old[f"{a}.attn.out_proj.{p}"]
                new[f"{b}.layer_norm1.{p}"] = old[f"{a}.ln_1.{p}"]
                new[f"{b}.layer_norm2.{p}"] = old[f"{a}.ln_2.{p}"]
                new[f"{b}.mlp.fc1.{p}"] = old[f"{a}.mlp.c_fc.{p}"]
                new[f"{b}.mlp.fc2.{p}"] = old[f"{a}.mlp.c_proj.{p}"]
    return {name: value.double() for name, value in new.items()}


def ids_of(reward, prompts):
    """A letter a token, in lower case, between a start and an end; the end fills up."""
    words = reward._clip._tokenizer
    start, end = words.bos_token_id, words.eos_token_id
    rows = []
    for prompt in prompts:
        letters = [
            [*word[:-1], f"{word[-1]}</w>"] for word in prompt.text.lower().split()
        ]  # fmt: skip
        known = [words.convert_tokens_to_ids(letter) for word in letters for letter in word]
        row = [start, *known[:75], end]
        rows.append(row + [end] * (77 - len(row)))
    return torch.tensor(rows), end


@pytest.mark.parametrize(
    ("name", "prepare", "activation", "factor"),
    [
        ("pickscore", clip_pixels, gelu, 1 / 26),
        ("clipscore", float_pixels, quick_gelu, 1 / 100),
        ("hpsv2", padded_pixels, gelu, None),
    ],
)
def test_scores_are_the_published_formulas(name, prepare, activation, factor, options, rewards):
    chosen, reward = PROMPTS[:4], rewards[name]
    weights = (
        from_open_clip(options[name]["weights"]) if factor is None else weights_of(options[name])
    )
    pixels = prepare(images(4), 32).double()
    ids, end = ids_of(reward, chosen)
    cosine = (
        image_embedding(pixels, weights, activation) * text_embedding(ids, end, weights, activation)
    ).sum(-1)
    wanted = cosine if factor is None else weights["logit_scale"].exp() * cosine * factor
    found = reward.score(images(4), chosen)
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=2e-5)
    assert float(found.std()) > 1e-3


def test_the_aesthetic_score_is_five_linear_layers_on_the_embedding(options, rewards):
    chosen = options["aesthetic"]
    x = image_embedding(clip_pixels(images(), 32).double(), weights_of(chosen), quick_gelu)
    head = torch.load(chosen["weights"], weights_only=True)
    for layer in LAYERS:
        x = linear(x, head[f"{layer}.weight"].double(), head[f"{layer}.bias"].double())
    found = rewards["aesthetic"].score(images(), PROMPTS)
    np.testing.assert_allclose(found.numpy(), x[:, 0].numpy(), atol=2e-4)


def test_the_published_heads_layout_is_the_one_that_is_read():
    # nn.Sequential of the published MLP: dropout stands at 1, 3 and 5.
    assert LAYERS == ("layers.0", "layers.2", "layers.4", "layers.6", "layers.7")


@EACH
def test_every_prompt_is_scored_in_any_batch(name, rewards):
    whole = rewards[name].score(images(), PROMPTS)
    assert whole.dtype == torch.float32
    assert bool(whole.isfinite().all())
    for i in (0, 3, 4):
        alone = rewards[name].score(images()[i : i + 1], PROMPTS[i : i + 1])
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-4, atol=1e-5)


@EACH
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near(name, dtype, options, rewards):
    low = ALL[name](CPU, **options[name], dtype=dtype).score(images(), PROMPTS)
    exact = rewards[name].score(images(), PROMPTS)
    assert low.dtype == torch.float32
    assert float((low - exact).abs().max()) < 0.1 * float(exact.abs().max()) + 0.02


@EACH
def test_an_offloaded_model_leaves_after_scoring_and_comes_back(name, options, monkeypatch):
    reward = ALL[name](CPU, **options[name], offload=True)
    moves, lent = [], reward._clip._lent
    monkeypatch.setattr(lent, "lend", lambda device: moves.append(device))
    monkeypatch.setattr(lent, "take_back", lambda: moves.append("back"))
    judge = Judge([WeightedReward(name, reward, 1.0)], timeout=60, retries=0)
    for _ in range(2):
        judge.submit(images(2), PROMPTS[:2], torch.zeros(2).long())
        judge.submit(images(2), PROMPTS[:2], torch.zeros(2).long())
        assert not judge.finish().failures
    judge.close()
    assert moves == [CPU, "back"] * 2


@EACH
def test_without_offload_it_stays(name, options):
    reward = ALL[name](CPU, **options[name])
    reward.score(images(1), PROMPTS[:1])
    reward.rest()
    assert reward._clip._is_there


def test_rest_is_called_where_scoring_failed_too():
    class Broken(PickScore):
        def __init__(self):
            self.rested = 0

        def score(self, images, prompts):
            return torch.zeros(7)

        def rest(self):
            self.rested += 1

    reward = Broken()
    judge = Judge([WeightedReward("broken", reward, 1.0)], timeout=60, retries=0)
    judge.submit(images(2), PROMPTS[:2], torch.zeros(2).long())
    with pytest.raises(Exception, match="broken"):
        judge.finish()
    judge.close()
    assert reward.rested == 1


@pytest.mark.parametrize(
    ("run_on", "said"),
    [("gpu7", "'gpu7' is no device; write cpu, cuda"), ("cuda:63", "'cuda:63': this machine has")],
)
def test_a_device_that_is_not_there_is_refused(run_on, said, options):
    with pytest.raises(ValueError, match=said):
        PickScore(CPU, **options["pickscore"], run_on=run_on)


@WITH_TEXT
def test_a_tokenizer_that_cannot_be_had_is_said(name, options):
    with pytest.raises(ValueError, match=r"the tokenizer '/no/where' is no folder .*vocabulary"):
        ALL[name](CPU, **{**options[name], "tokenizer": "/no/where"})


@pytest.mark.parametrize("name", ["pickscore", "clipscore", "aesthetic"])
def test_a_model_that_cannot_be_had_is_said(name, options):
    with pytest.raises(ValueError, match=r"the model '/no/where' is no folder .*name a folder"):
        ALL[name](CPU, **{**options[name], "model": "/no/where"})


@pytest.mark.parametrize("name", ["hpsv2", "aesthetic"])
def test_weights_that_cannot_be_had_or_read_are_said(name, options, tmp_path):
    with pytest.raises(ValueError, match=r"'/no/where' are no file here .* --tiny"):
        ALL[name](CPU, **{**options[name], "weights": "/no/where"})
    (tmp_path / "cut.pt").write_bytes(Path(options[name]["weights"]).read_bytes()[:2000])
    with pytest.raises(ValueError, match="no file of tensors that can be read"):
        ALL[name](CPU, **{**options[name], "weights": str(tmp_path / "cut.pt")})
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"are not of (a CLIP in open_clip's|the aesthetic)"):
        ALL[name](CPU, **{**options[name], "weights": str(tmp_path / "other.pt")})


def copied(options, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(options["model"], folder)
    return folder


def test_another_kind_of_model_is_refused(options, tmp_path):
    folder = copied(options["pickscore"], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "clip_text_model"}))
    with pytest.raises(ValueError, match="is a clip_text_model, not a clip; name a CLIP"):
        PickScore(CPU, model=str(folder), tokenizer=str(folder))


def test_truncated_weights_are_refused(options, tmp_path):
    folder = copied(options["pickscore"], tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot be read: .*; fetch them again"):
        PickScore(CPU, model=str(folder), tokenizer=str(folder))


def test_weights_that_lack_a_tensor_are_refused(options, tmp_path):
    from safetensors.torch import save_file

    folder = copied(options["pickscore"], tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lack 1 tensors, text_projection\.weight first"):
        PickScore(CPU, model=str(folder), tokenizer=str(folder))


def test_a_tokenizer_of_more_words_than_the_model_is_refused(options, tmp_path):
    from transformers import CLIPTokenizer

    words = CLIPTokenizer.from_pretrained(options["pickscore"]["tokenizer"])
    words.add_tokens(["zoo"])
    words.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="the tokenizer has 515 tokens and the model knows 514"):
        PickScore(CPU, model=options["pickscore"]["model"], tokenizer=str(tmp_path))


def test_a_head_of_another_clip_is_refused(options, tmp_path):
    head = torch.load(options["aesthetic"]["weights"], weights_only=True)
    head["layers.0.weight"] = torch.zeros(32, 768)
    torch.save(head, tmp_path / "head.pth")
    with pytest.raises(ValueError, match="take embeddings of 768 and the model's are of 64"):
        Aesthetic(CPU, model=options["aesthetic"]["model"], weights=str(tmp_path / "head.pth"))


@WITH_TEXT
def test_what_is_beyond_the_limit_makes_no_difference(name, options, rewards):
    (limit,) = ALL[name].text_limits(options[name])
    assert (limit.encoder, limit.tokens, limit.option) == ("CLIP", 77, None)
    # A letter is a token; begin and end are two.
    whole = "a" * 75
    assert limit.count([whole, f"{whole}b"]) == [77, 78]
    texts = [whole, f"{whole[:-1]}b", f"{whole}b", f"{whole}c"]
    one, other, cut, cut_too = (
        rewards[name].score(images(1), [Prompt(text)]).item() for text in texts
    )
    assert one != other
    assert cut == cut_too


def test_a_reward_without_texts_has_no_limit(options):
    assert ALL["aesthetic"].text_limits(options["aesthetic"]) == ()


def test_hpsv2_counts_what_its_tokenizer_gets(options):
    (limit,) = HPSv2.text_limits(options["hpsv2"])
    assert limit.count(["&amp;amp;"]) == limit.count(["&"])
