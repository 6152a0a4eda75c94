"""FLUX.1 on a tiny random pipeline: what it makes is what diffusers makes."""

import math

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from tests.policy.latent_families import (
    CPU,
    PROMPTS,
    ImageTests,
    TextTests,
    own_images,
    quiet,
    require_trained,
    start,
)
from tests.runs import RECIPES, written
from zoo.flow import shift_of
from zoo.plan.footprint import footprint
from zoo.policy.pipeline.policy import Diffusers
from zoo.recipe.recipe import load_recipe
from zoo.rollout import Weights
from zoo.testing import PolicyTests


class TestFlux(ImageTests, TextTests):
    pipeline_class, own = FluxPipeline, "dev"
    words, pooled = (32, 64), (32,)
    clip_tokens, pooled_at, t5 = 0, 1, "tokenizer_2"
    shift, scale = 0.1159, 0.3611

    def arguments(self, noise, guidance, embedding=3.5):
        return {
            "latents": noise,
            "negative_prompt": [""] * len(PROMPTS),
            "true_cfg_scale": guidance,
            "guidance_scale": embedding,
        }

    def packed(self, latents):
        return FluxPipeline._pack_latents(latents, *latents.shape)

    @pytest.mark.slow
    def test_schnell_has_neither_guidance_embedding_nor_shift(self, schnell):
        policy, pipeline = Diffusers(CPU, **schnell), quiet(FluxPipeline, schnell)
        assert policy.grid(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
        theirs = self.their_images(pipeline, policy, 64, 4, embedding=0.0)
        torch.testing.assert_close(own_images(policy, 4), theirs, rtol=0, atol=1e-5)

    @pytest.mark.slow
    def test_the_guidance_embedding_is_the_pipelines_and_changes_the_images(
        self, options, policy, pipeline
    ):
        weak = self.made(options, call={"guidance_scale": 1.0})
        ours = own_images(weak, 4)
        theirs = self.their_images(pipeline, weak, 64, 4, embedding=1.0)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
        assert float((ours - own_images(policy, 4)).abs().max()) > 1e-3

    @pytest.mark.slow
    def test_schnell_on_the_meta_device_has_the_same_shapes(self, schnell):
        self.require_the_same_shapes(schnell)

    def test_a_prompt_makes_a_difference_in_the_images(self, policy):
        cats, dogs, again = own_images(policy, 4)
        assert float((cats - dogs).abs().max()) > 0.02
        one, other = (self.embedded(policy.encode([prompt]))[0] for prompt in PROMPTS[:2])
        assert not torch.equal(one, other)
        assert not torch.equal(cats, again)

    @pytest.mark.slow
    @pytest.mark.parametrize("resolution", [512, 1024])
    def test_the_grid_is_shifted_by_the_number_of_tokens(self, options, resolution):
        policy = Diffusers(torch.device("meta"), **{**options, "resolution": resolution})
        tokens = (resolution // 16) ** 2
        # Of the published scheduler: 0.5 at 256 tokens, 1.15 at 4096.
        shift = math.exp(0.5 + 0.65 * (tokens - 256) / 3840)
        even = [1 - i / 10 for i in range(10)]
        wanted = [shift * t / (1 + (shift - 1) * t) for t in even] + [0.0]
        grid = torch.tensor(wanted, dtype=torch.float64)
        torch.testing.assert_close(policy.grid(10), grid, rtol=0, atol=1e-6)
        assert shift_of(policy.grid(5)) == pytest.approx(shift, abs=1e-4)

    @pytest.mark.parametrize("device", ["cpu", "meta"])
    def test_the_guidance_embedding_must_be_one_that_the_model_has(self, options, schnell, device):
        device = torch.device(device)
        none = self.refusal(options, device, call={"guidance_scale": None})
        assert "was distilled with a guidance embedding, and call.guidance_scale is null" in none
        some = self.refusal(schnell, device, call={"guidance_scale": 3.5})
        assert "has no guidance embedding, and call.guidance_scale is 3.5; leave it out" in some
        Diffusers(device, **{**schnell, "call": {"guidance_scale": None}})

    def test_a_hub_that_cannot_be_reached_is_said_in_a_line(self, options, monkeypatch):
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        line = self.refusal(options, pretrained="black-forest-labs/FLUX.1-dev")
        assert "it is not in the Hub's cache" in line
        assert "HF_HUB_OFFLINE is set; fetch it once" in line
        assert line.endswith("; to try the recipe without it: --tiny")


@pytest.mark.slow  # The contracts of every policy are tried on dev.
class TestSchnell(PolicyTests):
    @pytest.fixture(autouse=True)
    def _options(self, schnell):
        self.options = schnell

    def make(self):
        return Diffusers(CPU, **self.options)


@pytest.mark.slow
def test_gradients_reach_every_lora_parameter_of_both_kinds_of_blocks(dev):
    policy = Diffusers(CPU, **{**dev, "lora": None})
    targets = {name for name, m in policy.weights.network.named_modules() if name.endswith("to_q")}
    assert {name.split(".")[0] for name in targets} == {
        "transformer_blocks", "single_transformer_blocks",
    }  # fmt: skip
    policy = Diffusers(CPU, **dev)
    policy.weights.allocate((Weights.OLD,), seed=0)
    live = policy.weights.parameters()
    # 12 layers of each of the two blocks of two streams, 3 of each of the two of one; A and B.
    assert len(live) == 2 * (2 * 12 + 2 * 3)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in live.values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    x, t = start().normal(policy.latent_shape), torch.tensor([0.2, 0.6, 1.0])
    policy.velocity(x, t, policy.encode(PROMPTS, guidance=2.0)).square().mean().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in live.values())


@pytest.mark.slow
def test_in_bfloat16_velocities_are_those_of_diffusers_in_float32(dev):
    half = Diffusers(CPU, **{**dev, "dtype": "bfloat16"})
    x, t = start().normal(half.latent_shape), torch.tensor([0.2, 0.6, 1.0])
    cond = half.encode(PROMPTS)
    words, pooled = TestFlux().embedded(cond)
    network = FluxTransformer2DModel.from_pretrained(
        dev["pretrained"], subfolder="transformer", dtype=torch.bfloat16
    )
    with torch.no_grad():
        ours = half.velocity(x, t, cond)
        theirs = network(
            hidden_states=x.bfloat16(),
            timestep=t.bfloat16(),
            guidance=torch.full([3], 3.5),
            pooled_projections=pooled,
            encoder_hidden_states=words,
            txt_ids=torch.zeros(32, 3).bfloat16(),
            img_ids=FluxPipeline._prepare_latent_image_ids(3, 4, 4, CPU, torch.bfloat16),
        ).sample
    assert (ours.dtype, theirs.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(ours, theirs.float())


@pytest.mark.slow
def test_adapters_over_bfloat16_are_float32(dev):
    half = Diffusers(CPU, **{**dev, "dtype": "bfloat16"})
    half.weights.allocate((), seed=0)
    assert {p.dtype for p in half.weights.parameters().values()} == {torch.float32}
    assert half.weights.network.proj_out.weight.dtype == torch.bfloat16


@pytest.mark.slow
def test_its_memory_is_estimated(dev):
    """As `zoo check` does it: a whole epoch on the device meta."""
    policy = written({**dev, "dtype": "bfloat16"})
    changes = {
        "policy": f"{{name: diffusers, {policy}, lora: {{rank: 4, alpha: 8}}}}",
        "rewards": "[{name: jpeg_compressibility}]",
    }
    made = load_recipe(RECIPES["nft"], [f"{key}={value}" for key, value in changes.items()])
    found = footprint(made, 1)
    base = Diffusers(CPU, **dev, lora=None).weights.network
    assert sum(p.numel() for p in found.frozen) == sum(p.numel() for p in base.parameters())
    assert {p.dtype for p in found.frozen} == {torch.bfloat16}
    assert {p.dtype for p in found.trained} == {torch.float32}
    assert found.training > found.sampling > 0


# The fast suite trains SD3 by all three, in tests/recipes, by the same code.
@pytest.mark.slow
@pytest.mark.parametrize("algorithm", RECIPES)
def test_every_algorithm_trains_it(dev, algorithm, tmp_path):
    require_trained(algorithm, dev, tmp_path)
