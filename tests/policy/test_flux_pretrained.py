"""FLUX.1: what is loaded, what is refused, what prompts become, and that it trains."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.runs import RECIPES, metrics, only_run, overrides, zoo
from zoo.plan.footprint import footprint
from zoo.policy.flux import Flux
from zoo.policy.sd3 import SD3
from zoo.prompt import Prompt
from zoo.recipe.recipe import load_recipe

CPU = torch.device("cpu")
PROMPTS = [Prompt("a red cat"), Prompt("Two dogs, a tree"), Prompt("a red cat")]


@pytest.fixture(scope="module")
def policy(dev):
    return Flux(CPU, **dev)


def test_the_tiny_pipeline_is_small(dev, tmp_path):
    files = [path for path in Path(dev["pretrained"]).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3e6
    again = Flux.write_tiny(tmp_path / "again")
    name = "transformer/diffusion_pytorch_model.safetensors"
    one, two = (load_file(Path(made["pretrained"]) / name) for made in (dev, again))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_equal_prompts_share_a_row_and_are_embedded_once(policy, monkeypatch):
    fresh = [Prompt("never seen before"), Prompt("never seen before")]
    encoded = []
    encode = policy._text._encode
    monkeypatch.setattr(
        policy._text, "_encode", lambda texts: encoded.append(texts) or encode(texts)
    )
    first = policy.encode(fresh)
    assert len(first.tensors["words"].table) == 1
    again = policy.encode(fresh)
    assert encoded == [["never seen before"]]
    assert torch.equal(first.tensors["words"].rows(), again.tensors["words"].rows())


def test_the_cache_holds_no_more_than_asked(dev):
    small = Flux(CPU, **dev, cached_prompts=1)
    once = small.encode(PROMPTS).tensors["words"].rows()
    assert len(small._text._kept) == 1
    assert torch.equal(small.encode(PROMPTS).tensors["words"].rows(), once)


@pytest.mark.parametrize("text", ["", "🦊 naïve 猫", "long " * 2000, "\n\ttabs"])
def test_any_text_is_encoded(policy, text):
    tensors = policy.encode([Prompt(text)]).tensors
    assert tensors["words"].rows().shape == (1, 32, 64)
    assert tensors["pooled"].rows().shape == (1, 32)
    assert all(bool(lookup.rows().isfinite().all()) for lookup in tensors.values())


@pytest.mark.parametrize("variant", ["dev", "schnell"])
def test_on_the_meta_device_it_has_the_same_shapes(dev, schnell, variant):
    chosen = dev if variant == "dev" else schnell
    bare, whole = Flux(torch.device("meta"), **chosen), Flux(CPU, **chosen)
    cond, real = (each.encode(PROMPTS, guidance=2.0) for each in (bare, whole))
    for key, lookup in cond.tensors.items():
        assert lookup.table.is_meta
        assert lookup.table.shape == real.tensors[key].table.shape
    x = torch.zeros(3, *bare.latent_shape, device="meta")
    assert bare.velocity(x, torch.ones(3, device="meta"), cond).shape == x.shape
    assert bare.decode(x).shape == (3, 3, 64, 64)
    assert torch.equal(bare.grid(10), whole.grid(10))


def test_its_memory_is_estimated(dev):
    """As `zoo check` does it: a whole epoch on the device meta."""
    policy = ", ".join(f"{key}: {value}" for key, value in {**dev, "dtype": "bfloat16"}.items())
    changes = {
        "policy": f"{{name: flux, {policy}, lora: {{rank: 4, alpha: 8}}}}",
        "rewards": "[{name: jpeg_compressibility}]",
    }
    made = load_recipe(RECIPES["nft"], [f"{key}={value}" for key, value in changes.items()])
    found = footprint(made, 1)
    base = Flux(CPU, **dev, lora=None).weights.network
    assert sum(p.numel() for p in found.frozen) == sum(p.numel() for p in base.parameters())
    assert {p.dtype for p in found.frozen} == {torch.bfloat16}
    assert {p.dtype for p in found.trained} == {torch.float32}
    assert found.training > found.sampling > 0


def copied(options, folder):
    shutil.copytree(options["pretrained"], folder)
    return {**options, "pretrained": str(folder)}


def refusal(device=CPU, **options):
    with pytest.raises(ValueError, match=r"\w") as raised:
        Flux(device, **options)
    line = str(raised.value)
    assert "\n" not in line
    return line


def test_what_cannot_be_loaded_is_said_in_a_line(dev, tmp_path):
    unknown = refusal(**{**dev, "pretrained": "no such model"})
    assert "is no folder here and cannot be had from the Hub: 'no such model' is no id" in unknown
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no usable 'model_index.json'" in refusal(**{**dev, "pretrained": str(empty)})
    other = {**dev, "pretrained": SD3.write_tiny(tmp_path / "sd3")["pretrained"]}
    assert "is a StableDiffusion3Pipeline, and the policy 'flux' runs a FluxP" in refusal(**other)
    cut = copied(dev, tmp_path / "cut")
    weights = tmp_path / "cut" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "has no usable 'transformer'" in refusal(**cut)
    for part in ("vae", "scheduler", "text_encoder_2"):
        gone = copied(dev, tmp_path / part)
        shutil.rmtree(tmp_path / part / part)
        assert "has no usable" in refusal(**gone)
    assert "dtype bfloat16 cannot hold" in refusal(**dev | {"lora": None, "dtype": "bfloat16"})


def test_a_hub_that_cannot_be_reached_is_said_in_a_line(dev, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    line = refusal(**{**dev, "pretrained": "black-forest-labs/FLUX.1-dev"})
    assert "it is not in the Hub's cache" in line
    assert "HF_HUB_OFFLINE is set; fetch it once" in line
    assert line.endswith("; to try the recipe without it: --tiny")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_guidance_embedding_must_be_one_that_the_model_has(dev, schnell, device):
    device = torch.device(device)
    none = refusal(device, **{**dev, "guidance_embedding": None})
    assert "was distilled with a guidance embedding" in none
    assert "write guidance_embedding: 3.5" in none
    some = refusal(device, **{**schnell, "guidance_embedding": 3.5})
    assert "has no guidance embedding, and guidance_embedding is 3.5" in some
    assert "write guidance_embedding: null" in some


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("resolution: 72", ">= 16 and in steps of 16, not 72"),
        ("max_text_tokens: 513", "<= 512, not 513"),
        ("guidance_embedding: -1", ">= 0"),
    ],
)
def test_options_out_of_range_are_refused_with_the_place(option, said):
    policy = f"policy={{name: flux, {option}}}"
    ended = zoo("check", RECIPES["nft"], "-s", policy)
    assert ended.returncode == 2
    assert f"policy.{option.partition(':')[0]}" in ended.stderr
    assert said in ended.stderr


@pytest.mark.parametrize(
    "algorithm",
    # The fast suite trains it with NFT by a recipe (tests/recipes).
    [pytest.param("nft", marks=pytest.mark.slow), "flow_grpo", "dpo"],
)
def test_every_algorithm_trains_it(dev, algorithm, tmp_path):
    # As published: a base in bfloat16.
    changed = {**dev, "dtype": "bfloat16"}
    model = ", ".join(f"{key}: {value}" for key, value in changed.items())
    short = overrides(
        algorithm,
        tmp_path,
        epochs=1,
        eval="null",
        policy=f"{{name: flux, {model}, lora: {{rank: 4, alpha: 8}}}}",
        rewards="[{name: jpeg_compressibility}]",
        data__groups_per_epoch=2,
        data__group_size=3,
        optim__updates_per_epoch=1,
        engine__micro_batch="{sample: 3, train: 4}",
    )
    ended = zoo("train", RECIPES[algorithm], *short)
    assert ended.returncode == 0, ended.stderr
    before, after = metrics(only_run(tmp_path))
    assert after["grad_norm"] > 0
    assert before["num_evals"] >= 0
