"""Pipelines that move a part of what they prepare: what is kept is a flow whose end is known."""

import pytest
import torch

from tests.pictures import encoded, flat
from tests.policy.pipeline import toy
from zoo.policy.lora import Lora
from zoo.policy.pipeline.learn import learn
from zoo.policy.pipeline.policy import Diffusers
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.trial import try_pipeline
from zoo.prompt import ImageBytes, Prompt
from zoo.rollout import take
from zoo.seeds import Draws


def test_what_moves_is_found():
    seam = toy.seam_of(toy.KeepsFirst)
    contract = learn(seam)
    part = contract.manner.part
    # Nothing is decoded here, so that a latent is what moves alone.
    assert contract.shapes == (part.shape,) == ((1, 8, 8),)
    assert not part.keeps
    x = torch.randn(2, 1, 8, 8)
    seam.ask(Question("network", ["a", "b"], latents=[x]))
    (told,) = part.told(seam.run.prepared, x)
    assert torch.equal(told[:, 1:], x)
    assert bool((told[:, :1] == toy.KeepsFirst.KEPT).all())


def test_a_pipeline_that_moves_all_of_it_has_no_part():
    assert learn(toy.seam_of()).manner.part is None


def animated(colour, text="a cat"):
    return Prompt(text, inputs=(ImageBytes(colour, encoded(flat(colour))),))


@pytest.mark.parametrize("kind", ["LTXImageToVideoPipeline", "WanImageToVideoPipeline@2.2-5B"])
class TestFirstFrames:
    """A clean first frame in tokens that are not stepped; and one put over those that are."""

    @pytest.fixture
    def policy(self, tiny, kind):
        return Diffusers(torch.device("cpu"), **{**tiny(kind), "lora": Lora(rank=4, alpha=8)})

    @pytest.mark.fast_cases(1)
    def test_each_prompt_keeps_its_own_whatever_its_neighbours(self, policy):
        part = policy.contract.manner.part
        assert part.keeps
        cond = policy.encode([animated("red"), animated("blue")])
        x = Draws(0, "test", 0, torch.arange(2)).normal(policy.latent_shape)
        t = torch.tensor([0.8, 0.4])
        with torch.no_grad():
            velocity = policy.velocity(x, t, cond)
            alone = policy.velocity(x[1:], t[1:], take(cond, torch.tensor([1])))
        torch.testing.assert_close(velocity[1:], alone, rtol=0, atol=1e-4)
        ends = x - t.reshape(-1, *[1] * (x.ndim - 1)) * velocity
        kept = [part.filled(torch.zeros(1, end.numel()), end.flatten()[None]) for end in ends]
        again = policy.velocity(2 * x, 0.5 * t, cond).detach()
        ends = 2 * x - 0.5 * t.reshape(-1, *[1] * (x.ndim - 1)) * again
        for row, end in zip(kept, ends, strict=True):
            same = part.filled(torch.zeros(1, end.numel()), end.flatten()[None])
            torch.testing.assert_close(same, row, rtol=1e-4, atol=1e-4)
        assert float((kept[0] - kept[1]).abs().max()) > 1e-2

    @pytest.mark.fast_cases(1)
    def test_all_that_is_promised_holds(self, policy):
        trial = try_pipeline(policy, (animated("red"), animated("blue")))
        assert trial.holds, trial
