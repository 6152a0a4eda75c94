"""Pipelines that are made of blocks, asked like any other."""

import json

import diffusers
import pytest
import torch

from tests.policy.pipeline.toy import Toy
from tests.runs import RECIPES
from tests.train_here import ONE_UPDATE, recipe
from zoo.errors import UserError
from zoo.plan.footprint import footprint
from zoo.policy.lora import Lora
from zoo.policy.parts import is_part
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.modular import as_called, is_modular
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.trial import try_pipeline
from zoo.policy.pretrained import Pretrained
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


def test_its_shapes_alone_are_found_to_do_the_same(policy, options):
    planned = Diffusers(META, **options)
    assert all(p.is_meta for p in planned.weights.module.parameters())
    assert planned.contract.describe() == policy.contract.describe()
    assert torch.equal(planned.grid(5), policy.grid(5))


def test_its_estimate_is_that_of_the_classic_pipeline(options):
    own, classic = (
        footprint(recipe(RECIPES["nft"], **ONE_UPDATE, policy=written, **OTHERS), 1)
        for written in (_policy(options, KIND), _policy(options, "null"))
    )
    for count in ("flops", "encoders", "outside", "trains"):
        assert getattr(own, count) == getattr(classic, count)
    # Blocks pass on a state, which holds what another call has forgotten.
    assert own.sampling == pytest.approx(classic.sampling, rel=0.1)
    assert own.training == pytest.approx(classic.training, rel=0.05)


OTHERS = {"rewards": "[{name: jpeg_compressibility}]"}


def _policy(options, pipeline):
    """That of a recipe."""
    wide, high = options["resolution"]
    return (
        f"{{name: diffusers, pretrained: {options['pretrained']}, pipeline: {pipeline}, "
        f"resolution: [{wide}, {high}], dtype: float32}}"
    )


def test_parts_may_be_of_another_model(options, tmp_path):
    (tmp_path / "blocks").mkdir()
    blocks = diffusers.StableDiffusion3ModularPipeline.default_blocks_name
    index = {"_class_name": KIND, "_blocks_class_name": blocks}
    for name, named in Pretrained(options["pretrained"]).index().items():
        if is_part(named):
            place = {"pretrained_model_name_or_path": options["pretrained"], "subfolder": name}
            index[name] = [*named, {"type_hint": named, **place}]
    (tmp_path / "blocks" / "modular_model_index.json").write_text(json.dumps(index))
    elsewhere = {"pretrained": str(tmp_path / "blocks"), "pipeline": None}
    planned = Diffusers(META, **options | elsewhere)
    assert planned.latent_shape == (16, 8, 8)
    assert planned.encoder_bytes() == Diffusers(META, **options).encoder_bytes()


@pytest.mark.parametrize("device", [CPU, META])
def test_it_is_loaded_whole(options, device):
    with pytest.raises(ValueError, match=r"made of blocks.*leave policy\.without out"):
        Diffusers(device, **options, without=("text_encoder_3",))


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
