"""A trained FLUX.1 is exported as what diffusers' own pipeline and PEFT load."""

import pytest
import torch
from diffusers import FluxPipeline
from peft import PeftModel

from tests.policy.latent_families import short_run
from tests.runs import RECIPES, only_run, zoo
from zoo.prompt import Prompt
from zoo.rollout import Weights
from zoo.run import checkpoint
from zoo.run import folder as run_dir
from zoo.sampler.flow_sampler import FlowSampler
from zoo.sampler.ode import Euler
from zoo.seeds import Draws
from zoo.training import state as run_state
from zoo.training.build import build, plain_engine

PROMPTS = [Prompt("a red cat"), Prompt("Two dogs, a tree")]
STEPS = 3


@pytest.fixture(scope="module")
def run(dev, tmp_path_factory):
    """A run folder."""
    out = tmp_path_factory.mktemp("run")
    short = short_run("nft", dev, out, epochs=2, optim__lr=0.05, optim__schedule="constant")
    ended = zoo("train", RECIPES["nft"], *short)
    assert ended.returncode == 0, ended.stderr
    return only_run(out)


def draws():
    return Draws(0, "test", 0, torch.arange(len(PROMPTS)))


@torch.no_grad()
def own_images(run):
    """Of the live weights, and how far they are from those that it started from."""
    made = build(run_dir.recipe_of(run), plain_engine)
    folder = run / "checkpoints" / "000002"
    run_state.load_weights(made.model, checkpoint.load(folder).tensors, folder)
    policy, sampler = made.model.policy, FlowSampler(solver=Euler(), steps=STEPS)
    images = {}
    for which in (Weights.LIVE, Weights.REFERENCE):
        with policy.weights.using(which):
            path = sampler.sample(policy, PROMPTS, policy.encode(PROMPTS), draws(), keep_path=False)
        images[which] = policy.decode(path.clean)
    return images[Weights.LIVE], images[Weights.REFERENCE]


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("form", ["diffusers", "peft"])
def test_an_export_makes_the_runs_own_images(dev, run, form, tmp_path):
    ended = zoo("export", run, "--format", form, "--weights", "live", "--out", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    pipeline = FluxPipeline.from_pretrained(dev["pretrained"])
    pipeline.set_progress_bar_config(disable=True)
    if form == "diffusers":
        pipeline.load_lora_weights(tmp_path / "out")
    else:
        pipeline.transformer = PeftModel.from_pretrained(pipeline.transformer, tmp_path / "out")
    theirs = pipeline(
        [prompt.text for prompt in PROMPTS],
        num_inference_steps=STEPS,
        guidance_scale=3.5,
        height=64,
        width=64,
        max_sequence_length=32,
        latents=draws().at("start").normal((16, 64)),
        output_type="pt",
    ).images
    trained, untrained = own_images(run)
    torch.testing.assert_close(trained, theirs, rtol=0, atol=1e-5)
    assert float((trained - untrained).abs().max()) > 0.01
