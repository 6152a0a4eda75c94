"""A pipeline whose networks are float16."""

import pytest
import torch

from tests.policy.pipeline.test_policy import made, noise
from zoo.cli.models import prompts_for


@pytest.mark.parametrize("kind", ["StableDiffusion3Pipeline", "FluxPipeline"])
def test_in_float16_it_is_nearer_to_float32(tiny, kind):
    """By three bits; its losses are scaled."""
    told, exact = {}, made(tiny(kind), dtype="float32")
    x, t = noise(exact, rows=2)
    for dtype in ("float32", "bfloat16", "float16"):
        policy = made(tiny(kind), dtype=dtype)
        with torch.no_grad():
            told[dtype] = policy.velocity(x, t, policy.encode(prompts_for(policy)))
    away = {dtype: float((v - told["float32"]).norm()) for dtype, v in told.items()}
    assert 0 < away["float16"] < away["bfloat16"] / 4
    assert policy.weights.computing is torch.float16
    assert max(policy.verified.values()) < 0.0025
