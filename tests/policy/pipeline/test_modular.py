"""Pipelines that are made of blocks, asked like any other."""

import diffusers
import pytest
import torch

from tests.policy.pipeline.toy import Toy
from zoo.errors import UserError
from zoo.policy.lora import Lora
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.modular import as_called, is_modular
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.trial import try_pipeline
from zoo.prompt import Prompt
from zoo.seeds import Draws

CPU, META = torch.device("cpu"), torch.device("meta")
PROMPTS = [Prompt("a red cat"), Prompt("two dogs on a long mat of straw")]
KIND = "StableDiffusion3ModularPipeline"


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    made = Diffusers.write_tiny(tmp_path_factory.mktemp("tiny") / KIND, KIND)
    assert made["pipeline"] == KIND
    return {**made, "lora": Lora(rank=4, alpha=8)}


@pytest.fixture(scope="module")
def policy(options):
    return Diffusers(CPU, **options)


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_it_is_the_classic_pipeline_of_the_same_model(policy, options, guidance):
    classic = Diffusers(CPU, **{**options, "pipeline": None})
    assert type(classic.seam.real) is diffusers.StableDiffusion3Pipeline
    x = Draws(0, "test", 0, torch.arange(2)).normal(policy.latent_shape)
    t = torch.tensor([0.9, 0.3])
    with torch.no_grad():
        got, wanted = (
            each.velocity(x, t, each.encode(PROMPTS, guidance=guidance))
            for each in (policy, classic)
        )
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)
    assert torch.equal(policy.decode(x), classic.decode(x))
    assert torch.equal(policy.grid(7), classic.grid(7))


def test_all_that_is_promised_holds(policy):
    trial = try_pipeline(policy, tuple(PROMPTS))
    assert trial.holds, trial
    assert trial.branches.endswith("1 without")


def test_its_shapes_alone_are_not_made(options):
    with pytest.raises(ValueError, match=r"made of blocks.*before its weights are loaded"):
        Diffusers(META, **options)


def test_a_keyword_that_no_block_takes_is_refused(options):
    with pytest.raises(ValueError, match=r"takes no .num_frames.; write policy\.frames: null"):
        Diffusers(CPU, **{**options, "frames": 5})


def test_blocks_without_texts_are_refused():
    pipe = diffusers.StableDiffusion3ModularPipeline()
    del pipe._blocks.sub_blocks["text_encoder"]
    with pytest.raises(UnsupportedError, match="no block 'text_encoder'"):
        as_called(pipe)


def test_a_pipeline_with_a_call_is_none():
    assert not is_modular(Toy)
    assert is_modular(diffusers.StableDiffusion3ModularPipeline)


@pytest.mark.slow
def test_a_model_that_is_published_for_blocks_alone(options, tmp_path):
    folder = str(tmp_path / "blocks")
    pipe = diffusers.StableDiffusion3ModularPipeline(
        pretrained_model_name_or_path=options["pretrained"]
    )
    pipe.load_components(dtype=torch.float32)
    pipe.save_pretrained(folder, overwrite_modular_index=True)
    assert not (tmp_path / "blocks" / "model_index.json").exists()
    alone = Diffusers(CPU, **{**options, "pretrained": folder, "pipeline": None})
    assert alone.contract.pipeline == KIND
    policy = Diffusers(CPU, **options)
    x = Draws(0, "test", 0, torch.arange(2)).normal(policy.latent_shape)
    t = torch.tensor([0.9, 0.3])
    with torch.no_grad():
        got, wanted = (each.velocity(x, t, each.encode(PROMPTS)) for each in (alone, policy))
    assert torch.equal(got, wanted)
    with pytest.raises(UserError, match=r"made of blocks, of which zoo exports LoRAs alone"):
        alone.write_rest(tmp_path / "out")
