"""What every registered reward promises."""

import pytest
import torch

from tests.contracts.components import build, cls_of, each, some_images, some_prompts
from zoo.reward.base import Scores

EACH = each("rewards")
NUM = 7


def scored(reward, images, prompts):
    """The values and the extras together, [rows] each, by name."""
    scores = reward.score(images, prompts)
    found = scores if isinstance(scores, Scores) else Scores(scores)
    return {"": found.value, **found.extras}


@EACH
def test_a_score_is_a_finite_number_or_nan_for_each_image(entry, tmp_path):
    images = some_images(NUM)
    before = images.clone()
    for value in scored(build(entry, tmp_path), images, some_prompts(NUM)).values():
        assert value.shape == (NUM,)
        assert value.is_floating_point()
        assert not bool(value.isinf().any())
        assert not value.requires_grad
    assert torch.equal(images, before)


@EACH
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_are_scored_too(entry, level, tmp_path):
    images = torch.full_like(some_images(2), level)
    for value in scored(build(entry, tmp_path), images, some_prompts(2)).values():
        assert not bool(value.isinf().any())


@EACH
def test_the_same_images_score_the_same_from_any_instance(entry, tmp_path):
    images, prompts = some_images(NUM), some_prompts(NUM)
    reward = build(entry, tmp_path)
    once = scored(reward, images, prompts)
    for again in (scored(reward, images, prompts), scored(build(entry, tmp_path), images, prompts)):
        for name, value in once.items():
            torch.testing.assert_close(again[name], value, rtol=0, atol=0, equal_nan=True)


@EACH
def test_scores_follow_their_images(entry, tmp_path):
    reward = build(entry, tmp_path)
    # A group has one prompt.
    prompts = some_prompts(1) * NUM if reward.groupwise else some_prompts(NUM)
    images, order = some_images(NUM), torch.tensor([4, 0, 6, 2, 1, 5, 3])
    straight = scored(reward, images, prompts)
    turned = scored(reward, images[order], [prompts[i] for i in order])
    for name, value in straight.items():
        torch.testing.assert_close(turned[name], value[order], rtol=1e-5, atol=1e-6, equal_nan=True)


@EACH
def test_a_score_does_not_depend_on_the_batch_unless_it_is_groupwise(entry, tmp_path):
    reward = build(entry, tmp_path)
    if reward.groupwise:
        pytest.skip("it scores a whole group together")
    images, prompts = some_images(NUM), some_prompts(NUM)
    whole = scored(reward, images, prompts)
    for some in ([0], [3, 1], [2, 4, 5, 6]):
        part = scored(reward, images[some], [prompts[i] for i in some])
        for name, value in whole.items():
            torch.testing.assert_close(
                part[name], value[some], rtol=1e-4, atol=1e-5, equal_nan=True
            )


@EACH
def test_groupwise_is_said_by_the_class(entry):
    assert isinstance(cls_of(entry).groupwise, bool)
