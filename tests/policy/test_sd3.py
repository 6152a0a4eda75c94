"""SD3 on a tiny random pipeline: what it makes is what diffusers makes."""

import shutil

import pytest
import torch

from tests.runs import RECIPES, metrics, only_run, overrides, zoo
from zoo.policy.sd3 import SD3
from zoo.prompt import Prompt
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.seeds import Draws
from zoo.testing import PolicyTests

CPU = torch.device("cpu")
PROMPTS = [Prompt("a red cat"), Prompt("Two dogs, a tree"), Prompt("a red cat")]


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    return SD3.write_tiny(tmp_path_factory.mktemp("tiny") / "sd3")


@pytest.fixture(scope="module")
def policy(options):
    return SD3(CPU, **options)


@pytest.fixture(scope="module")
def pipeline(options):
    from diffusers import StableDiffusion3Pipeline

    made = StableDiffusion3Pipeline.from_pretrained(options["pretrained"])
    made.set_progress_bar_config(disable=True)
    return made


class TestSD3(PolicyTests):
    @pytest.fixture(autouse=True)
    def _options(self, options):
        self.options = options

    def make(self):
        return SD3(CPU, **self.options)


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("steps", [1, 4])
def test_our_euler_makes_the_pipelines_images(policy, pipeline, guidance, steps):
    sampler = FlowSampler(solver=Euler(), steps=steps, guidance=guidance)
    cond = policy.encode(PROMPTS, guidance=guidance)
    draws = Draws(0, "test", 0, torch.arange(len(PROMPTS)))
    with torch.no_grad():
        clean = sampler.sample(policy, PROMPTS, cond, draws, keep_path=False).clean
    theirs = pipeline(
        [prompt.text for prompt in PROMPTS],
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=64,
        width=64,
        max_sequence_length=32,
        latents=draws.at("start").normal(policy.latent_shape),
        output_type="pt",
    ).images
    torch.testing.assert_close(policy.decode(clean), theirs, rtol=0, atol=1e-5)


def test_the_grid_is_the_published_one(policy):
    published = [1, 0.9601, 0.9133, 0.8577, 0.7904, 0.7073, 0.6022, 0.4649, 0.2780, 0.0089, 0]
    torch.testing.assert_close(
        policy.grid(10), torch.tensor(published, dtype=torch.float64), rtol=0, atol=5e-5
    )


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


@pytest.mark.parametrize("text", ["", "🦊 naïve 猫", "long " * 2000, "\n\ttabs"])
def test_any_text_is_encoded(policy, text):
    words = policy.encode([Prompt(text)]).tensors["words"].rows()
    assert words.shape == (1, 77 + 32, 64)
    assert bool(words.isfinite().all())


def test_without_t5_zeros_stand_in_for_it(options, policy):
    small = SD3(CPU, **options, t5=False)
    words = small.encode(PROMPTS).tensors["words"].rows()
    assert words.shape == (3, 77 + 32, 64)
    assert bool((words[:, 77:] == 0).all())
    whole = policy.encode(PROMPTS).tensors["words"].rows()
    assert torch.equal(words[:, :77], whole[:, :77])


def test_the_cache_holds_no_more_than_asked(options):
    small = SD3(CPU, **options, cached_prompts=1)
    once = small.encode(PROMPTS).tensors["words"].rows()
    assert len(small._text._kept) == 1
    assert torch.equal(small.encode(PROMPTS).tensors["words"].rows(), once)


@pytest.mark.parametrize("decode_batch", [1, 2, 8])
def test_decoding_in_portions_changes_nothing(options, policy, decode_batch):
    latents = Draws(0, "test", 0, torch.arange(5)).normal(policy.latent_shape)
    portions = SD3(CPU, **options, decode_batch=decode_batch)
    torch.testing.assert_close(portions.decode(latents), policy.decode(latents), rtol=0, atol=1e-5)


def test_encoded_images_are_those_of_the_autoencoder_shifted_and_scaled(policy, pipeline):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inner = pipeline.vae.encode(2 * images - 1).latent_dist.mode()
    wanted = (inner - 0.0609) * 1.5305
    torch.testing.assert_close(policy.latents(images), wanted, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"resolution is 64 and an image has 32 x 64 pixels"):
        policy.latents(images[:, :, :32])


def test_on_the_meta_device_it_has_the_same_shapes(options, policy):
    bare = SD3(torch.device("meta"), **options)
    cond, whole = (each.encode(PROMPTS, guidance=2.0) for each in (bare, policy))
    for key, lookup in cond.tensors.items():
        assert lookup.table.is_meta
        assert lookup.table.shape == whole.tensors[key].table.shape
    x = torch.zeros(3, *bare.latent_shape, device="meta")
    assert bare.velocity(x, torch.ones(3, device="meta"), cond).shape == x.shape
    assert bare.decode(x).shape == (3, 3, 64, 64)


def copied(options, folder):
    shutil.copytree(options["pretrained"], folder)
    return {**options, "pretrained": str(folder)}


def test_what_cannot_be_loaded_is_said_in_a_line(options, tmp_path):
    def refusal(**changes):
        with pytest.raises(ValueError, match=r"\w") as raised:
            SD3(CPU, **{**options, **changes})
        line = str(raised.value)
        assert "\n" not in line
        return line

    assert "is no folder here and cannot be had from the Hub" in refusal(pretrained="no such model")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no usable 'model_index.json'" in refusal(pretrained=str(empty))
    other = copied(options, tmp_path / "other")
    index = tmp_path / "other" / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusion3Pipeline", "FluxPipeline"))
    assert "is a FluxPipeline, and the policy 'sd3' runs a StableDiffusion3Pip" in refusal(**other)
    cut = copied(options, tmp_path / "cut")
    weights = tmp_path / "cut" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "has no usable 'transformer'" in refusal(**cut)
    gone = copied(options, tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone" / "vae")
    assert "has no usable 'vae'" in refusal(**gone)
    assert "positions for 512 pixels a side and resolution is 528" in refusal(resolution=528)
    assert "dtype bfloat16 cannot hold" in refusal(lora=None, dtype="bfloat16")


# The fast suite trains each of them on it by a recipe (tests/recipes).
@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["nft", "flow_grpo", "dpo"])
def test_every_algorithm_trains_it(options, algorithm, tmp_path):
    # As published: a base in bfloat16.
    changed = {**options, "dtype": "bfloat16"}
    model = ", ".join(f"{key}: {value}" for key, value in changed.items())
    short = overrides(
        algorithm,
        tmp_path,
        epochs=1,
        eval="null",
        policy=f"{{name: sd3, {model}, lora: {{rank: 4, alpha: 8}}}}",
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
