"""What a pipeline makes of prompts or of input images alone is made once."""

import pytest
import torch

from tests.policy.pipeline.test_policy import PROMPTS, made, noise
from zoo.cli.models import prompts_for
from zoo.rollout import take


def calls_inside(part):
    calls = []
    for child in part.children():
        child.register_forward_pre_hook(lambda *_: calls.append(None))
    return calls


def test_what_a_pipeline_makes_of_prompts_alone_is_made_once_for_the_same_rows(tiny):
    policy = made(tiny("LTX2Pipeline"), dtype="float32")
    x, t = noise(policy)
    cond = policy.encode(PROMPTS)
    calls = calls_inside(policy.seam.real.connectors)
    first = policy.velocity(x, t, cond)
    once = len(calls)
    assert torch.equal(policy.velocity(x, t, cond), first)
    assert len(calls) == once > 0
    turned = torch.tensor([1, 0, 2])
    other = policy.velocity(x[turned], t[turned], take(cond, turned))
    assert torch.allclose(other, first[turned], atol=1e-5)
    assert len(calls) == 2 * once


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Of diffusers, with NumPy 2.
def test_input_images_are_read_by_an_encoder_once(tiny):
    """In MotifVideo it is a tower of the text encoder, which its call goes to in every step."""
    policy = made(tiny("MotifVideoImage2VideoPipeline"), dtype="float32")
    x, t = noise(policy, rows=2)
    calls = calls_inside(policy.seam.real.text_encoder.vision_tower)
    cond = policy.encode(prompts_for(policy)[:2])
    first = policy.velocity(x, t, cond)
    once = len(calls)
    assert torch.equal(policy.velocity(x, t, cond), first)
    assert len(calls) == once > 0
