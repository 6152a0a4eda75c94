"""One pipeline asked for images of several sizes: as if it were loaded anew at each."""

import pytest
import torch

from zoo.policy.lora import Lora
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.policy import Diffusers
from zoo.prompt import Prompt
from zoo.rollout import Weights
from zoo.seeds import Draws

CPU = torch.device("cpu")
PROMPTS = [Prompt("a red cat"), Prompt("two dogs on a long mat of straw")]
SMALL = Lora(rank=4, alpha=8)


def noise(policy):
    return Draws(0, "test", 0, torch.arange(2)).normal(policy.latent_shape), torch.tensor(
        [0.9, 0.2]
    )


def require_same(sized, alone, guidance=1.0):
    """All that a policy gives, bit for bit."""
    assert sized.latent_shape == alone.latent_shape
    x, t = noise(alone)
    with torch.no_grad():
        velocities = [
            policy.velocity(x, t, policy.encode(PROMPTS, guidance=guidance))
            for policy in (sized, alone)
        ]
    assert torch.equal(*velocities)
    images = sized.decode(x), alone.decode(x)
    assert torch.equal(*images)
    assert torch.equal(sized.grid(5), alone.grid(5))
    assert torch.equal(sized.latents(images[0]), alone.latents(images[0]))
    assert sized.contract.describe() == alone.contract.describe()


@pytest.mark.parametrize("frames", [1, pytest.param(9, marks=pytest.mark.slow)])
def test_a_video_of_another_length_is_as_of_a_model_loaded_for_it(tiny, frames):
    options = {**tiny("WanPipeline"), "lora": SMALL}
    policy = Diffusers(CPU, **options)
    sized = policy.sized({"resolution": options["resolution"], "frames": frames})
    require_same(sized, Diffusers(CPU, **options | {"frames": frames}), guidance=4.0)
    assert sized.weights is policy.weights
    # The first one is as it was.
    require_same(policy, Diffusers(CPU, **options))


@pytest.mark.parametrize("kind", ["sd3", "dev"])
def test_a_picture_of_another_size_is_as_of_a_model_loaded_for_it(kind, request):
    options = {**request.getfixturevalue(kind), "lora": SMALL}
    policy = Diffusers(CPU, **options)
    sized = policy.sized({"resolution": 32})
    require_same(sized, Diffusers(CPU, **options | {"resolution": 32}))
    # A step at one size is a step of the model at every size.
    policy.weights.allocate((Weights.OLD,), seed=0)
    x, t = noise(sized)
    before = sized.velocity(x, t, sized.encode(PROMPTS)).detach()
    for name, parameter in policy.weights.parameters().items():
        if "lora_B" in name or ".B" in name:
            torch.nn.init.constant_(parameter, 0.1)
    assert not torch.equal(before, sized.velocity(x, t, sized.encode(PROMPTS)))


def test_texts_that_were_encoded_are_not_encoded_again(sd3, monkeypatch):
    policy = Diffusers(CPU, **sd3)
    policy.encode(PROMPTS)
    sized = policy.sized({"resolution": 32})

    def encodes(*given):
        raise AssertionError("a text is encoded twice")

    monkeypatch.setattr(sized.seam, "encode", encodes)
    sized.encode(PROMPTS)


def test_a_size_that_the_model_has_not_is_refused(sd3, tiny):
    policy = Diffusers(CPU, **sd3)
    with pytest.raises(ValueError, match="has positions for"):
        policy.sized({"resolution": 4096})
    flat = Diffusers(CPU, **tiny("StableDiffusionPipeline"), lora=SMALL)
    with pytest.raises(ValueError, match="takes no 'num_frames'"):
        flat.sized({"resolution": 64, "frames": 5})


def test_a_size_that_the_pipeline_rounds_is_refused(tiny):
    policy = Diffusers(CPU, **tiny("WanPipeline"), lora=SMALL)
    with pytest.raises((ValueError, UnsupportedError)):
        policy.sized({"resolution": (61, 64), "frames": 5})
