"""The published sizes are those of the published models."""

import json

import diffusers
import pytest
import torch

from zoo.policy.parts import num_numbers
from zoo.policy.pretrained import Pretrained
from zoo.policy.published import published, write_shapes

T5_XXL = 4_762_310_656


@pytest.mark.parametrize(
    ("pipeline", "source", "network", "parameters", "t5"),
    [
        ("StableDiffusion3Pipeline", "stabilityai/stable-diffusion-3.5-medium",
         "SD3Transformer2DModel", 2.24e9, "text_encoder_3"),
        ("FluxPipeline", "black-forest-labs/FLUX.1-dev", "FluxTransformer2DModel", 11.9e9,
         "text_encoder_2"),
    ],
)  # fmt: skip
def test_a_models_shapes_have_its_number_of_parameters(
    tmp_path, pipeline, source, network, parameters, t5
):
    write_shapes(source, pipeline, tmp_path)
    config = json.loads((tmp_path / "transformer" / "config.json").read_text())
    with torch.device("meta"):
        made = getattr(diffusers, network).from_config(config)
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(parameters, rel=0.005)
    assert num_numbers(Pretrained(str(tmp_path)), t5) == T5_XXL
    assert not list(tmp_path.rglob("*.safetensors"))


def test_there_are_two():
    assert set(published()) == {
        "stabilityai/stable-diffusion-3.5-medium", "black-forest-labs/FLUX.1-dev"
    }  # fmt: skip
