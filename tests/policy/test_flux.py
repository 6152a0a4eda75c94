"""FLUX.1 on a tiny random pipeline: what it makes is what diffusers makes."""

import math

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel

from zoo.policy.flux import Flux
from zoo.prompt import Prompt
from zoo.rollout import Weights
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.seeds import Draws
from zoo.testing import PolicyTests

CPU = torch.device("cpu")
PROMPTS = [Prompt("a red cat"), Prompt("Two dogs, a tree"), Prompt("a red cat")]


@pytest.fixture(scope="module")
def policy(dev):
    return Flux(CPU, **dev)


def pipeline_of(options):
    made = FluxPipeline.from_pretrained(options["pretrained"])
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def pipeline(dev):
    return pipeline_of(dev)


class TestSchnell(PolicyTests):
    @pytest.fixture(autouse=True)
    def _options(self, schnell):
        self.options = schnell

    def make(self):
        return Flux(CPU, **self.options)


def start():
    return Draws(0, "test", 0, torch.arange(len(PROMPTS)))


def own_images(policy, steps, guidance=1.0):
    sampler = FlowSampler(solver=Euler(), steps=steps, guidance=guidance)
    cond = policy.encode(PROMPTS, guidance=guidance)
    with torch.no_grad():
        made = sampler.sample(policy, PROMPTS, cond, start(), keep_path=False)
    return policy.decode(made.clean)


def their_images(pipeline, policy, steps, guidance=1.0, embedding=3.5):
    side = policy.latent_shape[1]
    noise = start().at("start").normal(policy.latent_shape)
    return pipeline(
        [prompt.text for prompt in PROMPTS],
        negative_prompt=[""] * len(PROMPTS),
        true_cfg_scale=guidance,
        num_inference_steps=steps,
        guidance_scale=embedding,
        height=8 * side,
        width=8 * side,
        max_sequence_length=32,
        latents=pipeline._pack_latents(noise, len(PROMPTS), 16, side, side),
        output_type="pt",
    ).images


@pytest.mark.parametrize("guidance", [1.0, 4.5])
@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("resolution", [64, 96])
def test_our_euler_makes_the_pipelines_images(dev, pipeline, resolution, guidance, steps):
    policy = Flux(CPU, **{**dev, "resolution": resolution})
    ours = own_images(policy, steps, guidance)
    assert ours.shape == (3, 3, resolution, resolution)
    theirs = their_images(pipeline, policy, steps, guidance)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_schnell_has_neither_guidance_embedding_nor_shift(schnell):
    policy, pipeline = Flux(CPU, **schnell), pipeline_of(schnell)
    assert policy.grid(4).tolist() == [1, 0.75, 0.5, 0.25, 0]
    theirs = their_images(pipeline, policy, 4, embedding=0.0)
    torch.testing.assert_close(own_images(policy, 4), theirs, rtol=0, atol=1e-5)


def test_the_guidance_embedding_is_the_pipelines_and_changes_the_images(dev, pipeline):
    policy = Flux(CPU, **{**dev, "guidance_embedding": 1.0})
    ours = own_images(policy, 4)
    theirs = their_images(pipeline, policy, 4, embedding=1.0)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert float((ours - own_images(Flux(CPU, **dev), 4)).abs().max()) > 1e-3


def test_a_prompt_makes_a_difference_in_the_images(policy):
    cats, dogs, again = own_images(policy, 4)
    assert float((cats - dogs).abs().max()) > 0.02
    alone = policy.encode(PROMPTS[:1]).tensors["words"].rows()
    assert not torch.equal(alone, policy.encode(PROMPTS[1:2]).tensors["words"].rows())
    assert not torch.equal(cats, again)


@pytest.mark.parametrize("resolution", [512, 1024])
def test_the_grid_is_shifted_by_the_number_of_tokens(dev, resolution):
    policy = Flux(CPU, **{**dev, "resolution": resolution})
    tokens = (resolution // 16) ** 2
    # Of the published scheduler: 0.5 at 256 tokens, 1.15 at 4096.
    shift = math.exp(0.5 + 0.65 * (tokens - 256) / 3840)
    even = [1 - i / 10 for i in range(10)]
    wanted = [shift * t / (1 + (shift - 1) * t) for t in even] + [0.0]
    grid = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(policy.grid(10), grid, rtol=0, atol=1e-6)


def test_gradients_reach_every_lora_parameter_of_both_kinds_of_blocks(dev):
    policy = Flux(CPU, **{**dev, "lora": None})
    targets = {name for name, m in policy.weights.network.named_modules() if name.endswith("to_q")}
    assert {name.split(".")[0] for name in targets} == {
        "transformer_blocks", "single_transformer_blocks",
    }  # fmt: skip
    policy = Flux(CPU, **dev)
    policy.weights.allocate((Weights.OLD,), seed=0)
    live = policy.weights.parameters()
    # 12 layers of the one block of two streams, 3 of each of the two of one; A and B.
    assert len(live) == 2 * (12 + 2 * 3)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in live.values():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    x, t = start().normal(policy.latent_shape), torch.tensor([0.2, 0.6, 1.0])
    policy.velocity(x, t, policy.encode(PROMPTS, guidance=2.0)).square().mean().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in live.values())


@pytest.mark.parametrize("decode_batch", [1, 2, 8])
def test_decoding_in_portions_changes_nothing(dev, policy, decode_batch):
    latents = Draws(0, "test", 0, torch.arange(5)).normal(policy.latent_shape)
    portions = Flux(CPU, **dev, decode_batch=decode_batch)
    torch.testing.assert_close(portions.decode(latents), policy.decode(latents), rtol=0, atol=1e-5)


def test_encoded_images_are_those_of_the_autoencoder_shifted_and_scaled(policy, pipeline):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        inner = pipeline.vae.encode(2 * images - 1).latent_dist.mode()
    wanted = (inner - 0.1159) * 0.3611
    torch.testing.assert_close(policy.latents(images), wanted, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"resolution is 64 and an image has 32 x 64 pixels"):
        policy.latents(images[:, :, :32])


def test_in_bfloat16_velocities_are_those_of_diffusers_in_float32(dev):
    half = Flux(CPU, **{**dev, "dtype": "bfloat16"})
    x, t = start().normal(half.latent_shape), torch.tensor([0.2, 0.6, 1.0])
    cond = half.encode(PROMPTS)
    network = FluxTransformer2DModel.from_pretrained(
        dev["pretrained"], subfolder="transformer", dtype=torch.bfloat16
    )
    side = half.latent_shape[1]
    with torch.no_grad():
        ours = half.velocity(x, t, cond)
        theirs = network(
            hidden_states=FluxPipeline._pack_latents(x, 3, 16, side, side).bfloat16(),
            timestep=t.bfloat16(),
            guidance=torch.full([3], 3.5),
            pooled_projections=cond.tensors["pooled"].rows(),
            encoder_hidden_states=cond.tensors["words"].rows(),
            txt_ids=torch.zeros(32, 3).bfloat16(),
            img_ids=FluxPipeline._prepare_latent_image_ids(3, 4, 4, CPU, torch.bfloat16),
        ).sample
    assert (ours.dtype, theirs.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(ours, FluxPipeline._unpack_latents(theirs, 64, 64, 8).float())


def test_adapters_over_bfloat16_are_float32(dev):
    half = Flux(CPU, **{**dev, "dtype": "bfloat16"})
    half.weights.allocate((), seed=0)
    assert {p.dtype for p in half.weights.parameters().values()} == {torch.float32}
    assert half.weights.network.proj_out.weight.dtype == torch.bfloat16
