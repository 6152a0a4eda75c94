"""What every reward promises."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from zoo.devices import CPU, accelerator
from zoo.prompt import Prompt, PromptError
from zoo.reward.base import Reward, Scores
from zoo.testing.inputs import some_images, some_prompts, without_metadata

_NUM = 7
_DEVICES = [device.type for device in (CPU, accelerator()) if device is not None]


class RewardTests(ABC):
    """The checks of a reward: inherit them in a class whose name starts with Test, write `make`.

    Override `images` and `prompts` where the defaults do not suit: other sizes, other metadata.
    """

    @abstractmethod
    def make(self) -> Reward:
        """A new instance, on the CPU; each call gives another one that scores the same."""

    def images(self, num: int) -> Tensor:
        """Images [num, 3, height, width] in [0, 1]: the same for the same `num`.

        Of a reward that takes videos alone: [num, frames, 3, height, width].
        """
        return some_images(num)

    def prompts(self, num: int) -> Sequence[Prompt]:
        """As many prompts, with the metadata that the reward reads."""
        return some_prompts(num)

    def group(self, reward: Reward, num: int) -> list[Prompt]:
        """Prompts for `num` images scored in one call: a groupwise reward gets one prompt's."""
        return list(self.prompts(1)) * num if reward.groupwise else list(self.prompts(num))

    def test_a_score_is_a_finite_number_or_nan_for_each_image(self) -> None:
        """A wrong shape stops a run; images belong to the run and stay as they are."""
        reward, images = self.make(), self.images(_NUM)
        before = images.clone()
        for value in score_all(reward, images, self.group(reward, _NUM)).values():
            assert value.shape == (_NUM,)
            assert value.is_floating_point()
            assert not bool(value.isinf().any())
            assert not value.requires_grad
        assert torch.equal(images, before), "the reward changed its images"

    def test_most_of_the_images_are_scored(self) -> None:
        """A run stops where more than half of the scores are NaN."""
        reward = self.make()
        value = score_all(reward, self.images(_NUM), self.group(reward, _NUM))[""]
        assert float(value.isnan().float().mean()) <= 0.5

    @pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
    def test_flat_images_are_scored_too(self, level: float) -> None:
        """An untrained or broken model makes them; infinity is no way to say so."""
        reward = self.make()
        images = torch.full_like(self.images(2), level)
        for value in score_all(reward, images, self.group(reward, 2)).values():
            assert value.shape == (2,)
            assert not bool(value.isinf().any())

    def test_the_same_images_score_the_same_from_any_instance(self) -> None:
        """A run that is resumed must be judged as before: no state, nothing drawn."""
        reward, other, images = self.make(), self.make(), self.images(_NUM)
        prompts = self.group(reward, _NUM)
        once = score_all(reward, images, prompts)
        for again in (score_all(reward, images, prompts), score_all(other, images, prompts)):
            assert again.keys() == once.keys()
            for name, value in once.items():
                torch.testing.assert_close(again[name], value, rtol=0, atol=0, equal_nan=True)

    def test_scores_follow_their_images(self) -> None:
        """The order within a batch or a group means nothing."""
        reward, images = self.make(), self.images(_NUM)
        prompts, order = self.group(reward, _NUM), torch.tensor([4, 0, 6, 2, 1, 5, 3])
        straight = score_all(reward, images, prompts)
        turned = score_all(reward, images[order], [prompts[i] for i in order])
        for name, value in straight.items():
            torch.testing.assert_close(
                turned[name], value[order], rtol=1e-5, atol=1e-6, equal_nan=True
            )

    def test_a_score_does_not_depend_on_the_batch_unless_it_is_groupwise(self) -> None:
        """Batches differ with the number of processes; a groupwise reward gets whole groups.

        The class says which it is: `zoo check` reads it before anything is built.
        """
        reward, images = self.make(), self.images(_NUM)
        assert isinstance(type(reward).groupwise, bool)
        if reward.groupwise:
            pytest.skip("it scores a whole group together")
        prompts = self.group(reward, _NUM)
        whole = score_all(reward, images, prompts)
        for some in ([0], [3, 1], [2, 4, 5, 6]):
            part = score_all(reward, images[some], [prompts[i] for i in some])
            for name, value in whole.items():
                torch.testing.assert_close(
                    part[name], value[some], rtol=1e-4, atol=1e-5, equal_nan=True
                )

    def test_one_that_reads_no_pixels_scores_without_them(self) -> None:
        """A run on stored images then decodes none; `zoo check` reads it from the class."""
        reward, images = self.make(), self.images(_NUM)
        assert isinstance(type(reward).reads_pixels, bool)
        if reward.reads_pixels:
            pytest.skip("it reads pixels")
        prompts, empty = self.group(reward, _NUM), images.new_zeros(_NUM, 3, 0, 0)
        bare = score_all(reward, empty, prompts)
        for name, value in score_all(reward, images, prompts).items():
            torch.testing.assert_close(bare[name], value, rtol=0, atol=0, equal_nan=True)

    def test_one_that_takes_both_scores_videos_too(self) -> None:
        """What a policy makes is known only when a run builds both."""
        reward, images = self.make(), self.images(_NUM)
        assert reward.takes in ("images", "videos", "both")
        if reward.takes != "both":
            pytest.skip("it takes one of them")
        videos = torch.stack([images, images.flip(-1)], dim=1)
        for value in score_all(reward, videos, self.group(reward, _NUM)).values():
            assert value.shape == (_NUM,)

    def test_a_group_of_any_size_is_scored(self) -> None:
        """A group of one has nothing to be compared with: NaN says so, an exception does not."""
        reward = self.make()
        for num in (1, 2, 5):
            for value in score_all(reward, self.images(num), list(self.prompts(1)) * num).values():
                assert value.shape == (num,)
                assert not bool(value.isinf().any())

    def test_scores_are_the_same_from_another_thread(self) -> None:
        """A run scores in a thread of its own, without gradients, while it samples on."""
        reward, images = self.make(), self.images(2)
        prompts = self.group(reward, 2)

        def without_gradients() -> dict[str, Tensor]:
            with torch.no_grad():
                return score_all(reward, images, prompts)

        with ThreadPoolExecutor(1) as thread:
            there = thread.submit(without_gradients).result()
        for name, value in score_all(reward, images, prompts).items():
            torch.testing.assert_close(there[name], value, rtol=1e-5, atol=1e-6, equal_nan=True)

    def test_prompts_without_metadata_are_scored_or_refused_in_a_line(self) -> None:
        """Whoever takes a list of texts must read what the reward needs, and in a PromptError."""
        reward, images = self.make(), self.images(2)
        bare = without_metadata(self.group(reward, 2))
        try:
            reason, values = "", score_all(reward, images, bare)
        except PromptError as error:
            reason, values = str(error), {}
        assert reason.strip() or values[""].shape == (2,)
        assert "\n" not in reason

    @pytest.mark.parametrize("device", _DEVICES)
    def test_scores_are_on_the_device_of_the_images(self, device: str) -> None:
        """Whatever the device that the reward computes on."""
        reward, images = self.make(), self.images(2)
        prompts = self.group(reward, 2)
        here = score_all(reward, images, prompts)
        for name, value in score_all(reward, images.to(device), prompts).items():
            assert value.device.type == device
            torch.testing.assert_close(
                value.cpu(), here[name], rtol=1e-3, atol=1e-4, equal_nan=True
            )

    def test_known_answers_are_what_the_reward_gives(self) -> None:
        """What `zoo probe` and the start of a run will compare."""
        reward = self.make()
        answers = reward.known_answers()
        if not answers:
            pytest.skip("it has no known answers")
        for known in answers:
            value = score_all(reward, known.images, known.prompts)[""]
            wanted = torch.as_tensor(known.scores, dtype=value.dtype)
            torch.testing.assert_close(value, wanted, rtol=0, atol=known.tolerance, equal_nan=True)


def score_all(reward: Reward, images: Tensor, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """The values, as "", and the extras by their names: [rows] each."""
    scores = reward.score(images, prompts)
    scores_and_extras = scores if isinstance(scores, Scores) else Scores(scores)
    return {"": scores_and_extras.value, **scores_and_extras.extras}
