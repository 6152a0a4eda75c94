"""Why a pipeline is refused: in one line of our words, never in those of a Python error."""

import pytest
import torch

from tests.policy.pipeline import toy
from zoo.policy.pipeline.contract import UnsupportedError
from zoo.policy.pipeline.questions import Question
from zoo.policy.pipeline.refusals import require_arguments, telling_why


class NeedsVideo(toy.Toy):
    @torch.no_grad()
    def __call__(self, prompt, video, **kwargs):
        return toy.Toy.__call__(self, prompt, **kwargs)


class NeedsImage(toy.Toy):
    """As those of diffusers do, it stumbles over an image that is not there."""

    @torch.no_grad()
    def __call__(self, prompt, image=None, **kwargs):
        image.size  # noqa: B018
        return toy.Toy.__call__(self, prompt, **kwargs)


class Refuses(toy.Toy):
    @torch.no_grad()
    def __call__(self, prompt, **kwargs):
        raise ValueError("a size that is\nnone of mine")


class StepsOtherwise(toy.Toy):
    @torch.no_grad()
    def __call__(self, prompt, **kwargs):
        self.scheduler.set_timesteps(2, None, device=None)


class EndsByItsStep(toy.Toy):
    @torch.no_grad()
    def __call__(self, prompt, latents=None, **kwargs):
        for _ in self.scheduler.timesteps:
            denoised = latents
        return (denoised,)


def refusal(cls, until):
    seam = toy.seam_of(cls)

    @telling_why(seam)
    def ask():
        require_arguments(seam)
        seam.ask(Question(until, ["a"], latents=[torch.zeros(1, 2, 8, 8)]))

    with pytest.raises(UnsupportedError) as refused:
        ask()
    return str(refused.value)


@pytest.mark.parametrize(
    ("cls", "until", "says"),
    [
        (NeedsVideo, "network", "its call needs 'video'*policy.call: {video: ...}"),
        (NeedsImage, "network", "*given no image*policy.family.inputs: 1*"),
        (Refuses, "network", "*it says: a size that is none of mine"),
        (StepsOtherwise, "step", "*scheduler is not set or stepped as others are*"),
        (EndsByItsStep, "end", "*its end needs more than its last latents*"),
    ],
)
def test_what_it_did_and_what_to_do(cls, until, says):
    from fnmatch import fnmatch

    said = refusal(cls, until)
    assert said.startswith(cls.__name__)
    assert fnmatch(said, f"*{says}*")
    assert "\n" not in said
    assert not any(word in said for word in ("Error", "NoneType", "argument", "UnboundLocal"))
