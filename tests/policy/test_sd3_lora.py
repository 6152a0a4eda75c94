"""SD3's LoRA in the programs of others: their images are those of our own sampler."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.loras import values
from zoo.policy import lora_files
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.weights import Lora
from zoo.prompt import Prompt
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.seeds import Draws

CPU = torch.device("cpu")
PROMPTS = [Prompt("a red cat"), Prompt("Two dogs, a tree")]
LORA = Lora(rank=4, alpha=8)
DRAWS = Draws(0, "test", 0, torch.arange(len(PROMPTS)))


def policy(sd3, lora=LORA):
    made = Diffusers(CPU, **sd3, lora=lora)
    made.weights.allocate((), seed=0)
    return made


@torch.no_grad()
def images(of):
    sampler = FlowSampler(solver=Euler(), steps=3, guidance=1.0)
    cond = of.encode(PROMPTS, guidance=1.0)
    return of.decode(sampler.sample(of, PROMPTS, cond, DRAWS, keep_path=False).clean)


@pytest.fixture(scope="module")
def trained(sd3):
    """A policy whose LoRA changes its images a lot, and the images."""
    made = policy(sd3)
    before = images(made)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in made.weights.parameters().values():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    after = images(made)
    assert (after - before).abs().max() > 0.01
    return made, after


def by_peft(pipeline, folder):
    from peft import PeftModel

    # A pipeline asks for the class of its parts, so the network stays and gets the layers.
    PeftModel.from_pretrained(pipeline.transformer, folder)


def by_diffusers(pipeline, folder):
    """Of PEFT's file; diffusers does not look for the configuration beside it."""
    config = json.loads((folder / lora_files.PEFT_CONFIG).read_text())
    wanted = {key: config[key] for key in ("r", "lora_alpha", "target_modules")}
    pipeline.transformer.load_lora_adapter(
        load_file(folder / lora_files.PEFT),
        prefix="base_model.model",
        metadata={f"base_model.model.{key}": value for key, value in wanted.items()},
    )


WAYS = {
    "diffusers": (lora_files.write_diffusers, lambda p, folder: p.load_lora_weights(folder)),
    "PEFT": (lora_files.write_peft, by_peft),
    "PEFT's file by diffusers": (lora_files.write_peft, by_diffusers),
}


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("way", WAYS)
def test_the_pipeline_makes_our_images_of_an_export(way, sd3, trained, tmp_path):
    from diffusers import StableDiffusion3Pipeline

    (write, load), (made, wanted) = WAYS[way], trained
    write(tmp_path, values(made.weights), LORA)
    pipeline = StableDiffusion3Pipeline.from_pretrained(sd3["pretrained"])
    pipeline.set_progress_bar_config(disable=True)
    load(pipeline, tmp_path)
    theirs = pipeline(
        [prompt.text for prompt in PROMPTS],
        num_inference_steps=3, guidance_scale=1.0, height=64, width=64, max_sequence_length=32,
        latents=DRAWS.at("start").normal(made.latent_shape), output_type="pt",
    ).images  # fmt: skip
    torch.testing.assert_close(theirs, wanted, rtol=0, atol=1e-5)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("write", [lora_files.write_diffusers, lora_files.write_peft])
def test_a_policy_that_starts_from_an_export_makes_the_same_images(write, sd3, trained, tmp_path):
    made, wanted = trained
    write(tmp_path, values(made.weights), LORA)
    other = policy(sd3)
    lora_files.start_from(str(tmp_path), other.weights, ())
    assert torch.equal(images(other), wanted)


@pytest.mark.slow
def test_the_settings_of_an_export_are_the_policys_targets(sd3, trained, tmp_path):
    made, _ = trained
    lora_files.write_peft(tmp_path, values(made.weights), LORA)
    bare = Diffusers(torch.device("meta"), **sd3, lora=None).weights.network
    found = lora_files.settings(str(tmp_path), bare)
    lora = Lora(found["rank"], found["alpha"], tuple(found["targets"]))
    assert len(lora.targets) <= 8
    assert policy(sd3, lora).weights.parameters().keys() == made.weights.parameters().keys()
