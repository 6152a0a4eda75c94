"""A tiny pipeline of every family: written, read by diffusers, and called on the CPU."""

import diffusers
import numpy as np
import pytest
import torch

from zoo.policy.tiny_pipelines import build_tiny, write_tiny_pipeline

FEW = ["StableDiffusionXLPipeline", "FluxKontextPipeline", "ZImagePipeline", "WanPipeline"]


def made(pipeline, call, prompt):
    """The pixels that a call makes, from the same noise each time."""
    output = pipeline(
        prompt=prompt, generator=torch.Generator().manual_seed(0), output_type="np", **call
    )
    return np.asarray(output[0], dtype=np.float64)


def require_works(name, folder):
    call = write_tiny_pipeline(name, folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    assert size < 16e6
    pipeline = getattr(diffusers, name).from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    cat = made(pipeline, call.arguments(), "a red cat")
    dogs = made(pipeline, call.arguments(), "two blue dogs")
    assert cat.shape[-3:] == (64, 64, 3)
    assert np.isfinite(cat).all()
    assert np.abs(cat - dogs).max() > 1e-3


@pytest.mark.parametrize("name", FEW)
def test_it_is_written_read_and_called_and_its_prompt_matters(name, tmp_path):
    require_works(name, tmp_path / name)


def test_the_weights_are_the_same_every_time():
    first, second = (build_tiny("FluxPipeline").transformer.state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_pipeline_that_diffusers_has_not_is_refused():
    with pytest.raises(ValueError, match="has no pipeline 'NoSuchPipeline'"):
        build_tiny("NoSuchPipeline")
