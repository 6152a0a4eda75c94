"""A tiny pipeline of every family: written, read by diffusers, and called on the CPU."""

import inspect
import re

import diffusers
import numpy as np
import pytest
import torch

from tests.policy.pipelines_of_diffusers import (
    LARGE,
    LISTED,
    OTHER,
    UNFIT,
    VARIANTS,
    WORDLESS,
    WORKING,
)
from zoo.errors import UserError
from zoo.policy.tiny_pipelines import build_tiny, write_tiny_pipeline
from zoo.policy.tiny_pipelines.shrink import axes, channels, shrink

FEW = ["StableDiffusionXLPipeline", "FluxKontextPipeline", "ZImagePipeline", "WanPipeline"]


def made(pipeline, call, prompt):
    """The pixels that a call makes, from the same noise each time."""
    takes = inspect.signature(type(pipeline).__call__).parameters
    words = {"prompt": prompt} if "prompt" in takes else {}
    noise = torch.Generator().manual_seed(0)
    try:
        output = pipeline(**words, **call, generator=noise, output_type="np")
    except NameError as error:
        # Some pipelines name it whether or not it is installed.
        if error.name != "ftfy":
            raise
        pytest.skip("it needs the package ftfy")
    return np.asarray(output[0], dtype=np.float64)


def require_works(name, folder, variant=""):
    call = write_tiny_pipeline(name, folder, variant)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < 40e6
    pipeline = getattr(diffusers, name).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    cat = made(pipeline, call.arguments(), "a red cat")
    assert np.isfinite(cat).all()
    assert cat.std() > 0.01
    assert name in LARGE or cat.shape[-3:-1] == (64, 64)
    if name not in WORDLESS:
        dogs = made(pipeline, call.arguments(), "two blue dogs")
        assert np.abs(cat - dogs).max() > 1e-3


@pytest.mark.fast_cases(2)
@pytest.mark.parametrize("name", FEW)
def test_it_is_written_read_and_called_and_its_prompt_matters(name, tmp_path):
    require_works(name, tmp_path / name)


# What others' code warns of is not what is tested.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WORKING)
def test_every_pipeline_that_works_works(name, tmp_path):
    require_works(name, tmp_path / name)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_variant_works(name, variant, tmp_path):
    require_works(name, tmp_path / name, variant)


def test_variants_have_the_parts_that_they_are_named_for():
    experts = build_tiny("WanPipeline", "2.2-A14B")
    assert experts.transformer_2 is not None
    assert experts.config.boundary_ratio == 0.875
    small = build_tiny("WanImageToVideoPipeline", "2.2-5B")
    assert small.config.expand_timesteps
    assert (small.vae.config.z_dim, small.image_encoder) == (48, None)


# It imports all that diffusers has.
@pytest.mark.slow
@pytest.mark.skipif(
    not diffusers.__version__.startswith(LISTED),
    reason=f"diffusers {diffusers.__version__} has other pipelines than {LISTED}x, which is listed",
)
def test_the_list_has_every_pipeline_of_images_and_videos():
    names = {name for name in dir(diffusers) if name.endswith("Pipeline")}
    asked = {name for name in names if not re.search(OTHER, name) and not is_past(name)}
    assert asked == {*WORKING, *UNFIT}
    assert all(UNFIT.values())


def is_past(name):
    """Whether diffusers keeps the pipeline for old code alone, or cannot make it here."""
    module = getattr(diffusers, name).__module__
    return "deprecated" in module or "dummy" in module


@pytest.mark.parametrize("widths", [(16, 56, 56), (32, 48, 48), (32,) * 4, (44, 42, 42), (64, 64)])
def test_rotary_widths_are_even_and_sum_to_the_head(widths):
    small = axes(widths, 16)
    assert sum(small) == 16
    assert all(width % 2 == 0 and width > 0 for width in small)


def test_channels_keep_their_proportions():
    assert channels((128, 256, 512, 512)) == (8, 16, 32, 32)


def test_options_are_made_small_by_their_names_and_the_others_stay():
    options = {"num_layers": 19, "attention_head_dim": 128, "patch_size": 2, "in_channels": 64}
    assert shrink(options) == {"num_layers": 2, "attention_head_dim": 16}


def test_a_pipeline_that_cannot_be_made_small_is_refused_with_the_fix():
    with pytest.raises(
        UserError,
        match=r"LTXLatentUpsamplePipeline: it has no network that.*; run it .*without --tiny",
    ):
        build_tiny("LTXLatentUpsamplePipeline")


def test_the_weights_are_the_same_every_time():
    first, second = (build_tiny("FluxPipeline").transformer.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_experts_are_drawn_and_not_what_the_memory_held():
    first, second = (build_tiny("NucleusMoEImagePipeline").transformer for _ in range(2))
    assert torch.equal(
        first.state_dict()["transformer_blocks.1.img_mlp.experts.gate_up_proj"],
        second.state_dict()["transformer_blocks.1.img_mlp.experts.gate_up_proj"],
    )


def test_instructions_before_a_prompt_do_not_crowd_it_out():
    words = build_tiny("QwenImagePipeline").tokenizer
    pipeline = diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video
    template = pipeline.DEFAULT_PROMPT_TEMPLATE
    tokens = len(words(template["template"].format("")).input_ids)
    assert template["crop_start"] < tokens < template["crop_start"] + 256 - 32


def test_a_pipeline_that_diffusers_has_not_is_refused():
    with pytest.raises(ValueError, match="has no pipeline 'NoSuchPipeline'"):
        build_tiny("NoSuchPipeline")


def test_a_variant_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"no tiny '3' of WanPipeline; there are: 2.2-A14B, 2.2"):
        build_tiny("WanPipeline", "3")
