"""Stored images: each is read and encoded once, whatever the order in which epochs ask for them."""

import pytest
import torch

from tests.pictures import encoded, flat, noise, pixels
from tests.tiny_models import write_sd3
from zoo.policy.digits import Digits
from zoo.policy.pipeline.policy import Diffusers
from zoo.prompt import ImageBytes, Prompt, PromptError
from zoo.sampler.dataset import Dataset
from zoo.seeds import Draws
from zoo.training.generate import encode
from zoo.training.looks import MEASURES, look
from zoo.training.stored import EncodedImages, ImageCache, own_prompt, read_stored

CPU = torch.device("cpu")
ROOM = 0.001
"""GB, which hold more than a test's images."""


def empty(policy, gb=ROOM):
    """Images of a policy, of which none is kept yet."""
    return EncodedImages(Dataset(), policy, CPU, ImageCache(gb))


class Counting(Digits):
    """Digits that count the images which are encoded and decoded."""

    def __init__(self):
        super().__init__(CPU)
        self.encoded, self.decoded = [], 0

    def latents(self, images):
        self.encoded.append(len(images))
        return super().latents(images)

    def decode(self, latents):
        self.decoded += len(latents)
        return super().decode(latents)


GREY = ImageBytes("grey", encoded(flat((204,) * 3, (20, 9))))


def stored(*seeds):
    return [ImageBytes(f"noise {seed}", encoded(noise(seed, (8, 8)))) for seed in seeds]


def wanted(policy, images):
    """Images of prompts that have one each, with the keys 10, 11, ..."""
    prompts = [Prompt("the digit one", images=(image,)) for image in images]
    draws = Draws(0, "collect", 0, torch.arange(len(prompts)) + 10)
    return encode(
        policy, Dataset(), prompts, torch.arange(len(prompts)), draws, largest=len(prompts)
    )


def read(kept, images, micro_batch=4, *, reads_pixels=False):
    return list(
        read_stored(
            kept, wanted(kept.policy, images), micro_batch=micro_batch, reads_pixels=reads_pixels
        )
    )


def clean(batches):
    return torch.cat([batch.path.clean for batch in batches])


def test_latents_are_those_of_each_image_in_the_order_of_the_rows():
    policy, images = Digits(CPU), stored(*range(7))
    batches = read(empty(policy), images)
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6]]
    assert [batch.key.tolist() for batch in batches] == [[10, 11, 12, 13], [14, 15, 16]]
    expected = policy.latents(torch.stack([pixels(image, 8, 8) for image in images]))
    assert torch.equal(clean(batches), expected)
    assert all(batch.num_evals == batch.path.num_evals == 0 for batch in batches)


def test_an_image_is_encoded_once_and_again_only_when_it_was_dropped():
    policy, images = Counting(), stored(0, 1, 2, 0, 3, 1)
    kept = empty(policy)
    first = clean(read(kept, images, 3))
    assert policy.encoded == [3, 3]  # four images, in micro-batches that are filled up
    assert torch.equal(clean(read(kept, images, 3)), first)
    assert torch.equal(clean(read(kept, images[::-1], 3)), first.flip(0))
    assert policy.encoded == [3, 3]


@pytest.mark.parametrize("room", [0, 2])
def test_what_is_kept_is_bounded_and_the_images_used_last(room):
    policy, images = Counting(), stored(0, 1, 2)
    of_one = empty(policy)
    read(of_one, images[:1])
    size = of_one.cache.get(images[0]).num_bytes
    kept = empty(policy, room * size / 1e9)
    first = clean(read(kept, images, 1))
    assert [kept.cache.get(image) is not None for image in images] == [False, room == 2, room == 2]
    kept.cache.get(images[1])
    policy.encoded.clear()
    again = clean(read(kept, images[::2], 1))
    assert torch.equal(again, first[::2])
    assert len(policy.encoded) == (1 if room else 2)
    assert [kept.cache.get(image) is not None for image in images] == [room == 2, False, room == 2]


def test_nothing_is_decoded_where_no_pixel_is_read():
    policy = Counting()
    kept = empty(policy)
    batches = read(kept, stored(0, 1, 2))
    assert policy.decoded == 1  # once, which tells the size of the policy's images
    read(kept, stored(0, 3))
    assert policy.decoded == 1
    assert batches[0].images.shape == (3, 3, 0, 0)


def test_pixels_that_are_read_are_the_decoded_latents():
    policy = Counting()
    kept = empty(policy)
    (batch,) = read(kept, stored(0, 1, 2), reads_pixels=True)
    assert torch.equal(batch.images, Digits(CPU).decode(batch.path.clean))
    expected = look(batch.images, batch.path.clean)
    assert torch.equal(batch.looks.thumbnail, expected.thumbnail)
    assert torch.equal(batch.looks.measures, expected.measures)


def test_grey_images_look_the_same_bit_for_bit_whether_or_not_they_are_decoded():
    """A run's `collected/...` metrics do not tell whether its rewards read pixels."""
    levels = [round(255 * level / 16) for level in range(17)]  # those of the digits
    images = [ImageBytes(str(grey), encoded(flat((grey,) * 3))) for grey in levels]
    kept = empty(Digits(CPU))
    (bare,), (decoded,) = (read(kept, images, 17, reads_pixels=flag) for flag in (False, True))
    assert torch.equal(bare.looks.thumbnail, decoded.looks.thumbnail)
    assert torch.equal(bare.looks.measures, decoded.looks.measures)
    saturated = bare.looks.measures[:, MEASURES.index("saturated")]
    assert set(saturated.tolist()) == {0, 1}


@pytest.mark.slow
def test_latents_do_not_depend_on_which_images_are_kept_already(tmp_path):
    """A resumed run keeps none of what the whole one does."""
    policy = Diffusers(CPU, **write_sd3(tmp_path))
    images = [ImageBytes(f"noise {i}", encoded(noise(i, (64, 64)))) for i in range(7)]
    whole = empty(policy)
    read(whole, images[2:5], 3)
    before = clean(read(whole, images, 7))
    for order in ([6, 0, 3, 1, 5, 2, 4], [4], [1, 0]):
        fresh = empty(policy)
        found = clean(read(fresh, [images[i] for i in order], 3))
        # Not bit for bit: a micro-batch of one is computed in another order than one of several.
        torch.testing.assert_close(found, before[order], rtol=0, atol=1e-5)
        if len(order) > 1:
            assert torch.equal(found, before[order])


def test_a_process_without_an_image_runs_as_many_micro_batches():
    policy = Digits(CPU)
    prompts = [Prompt("the digit one", images=tuple(stored(0)))]
    draws = Draws(0, "collect", 0, torch.zeros(0, dtype=torch.long))
    none = encode(policy, Dataset(), prompts, torch.zeros(0, dtype=torch.long), draws, largest=5)
    kept = empty(policy)
    batches = list(read_stored(kept, none, micro_batch=3, reads_pixels=False))
    assert [len(batch.rows) for batch in batches] == [0, 0]
    assert clean(batches).shape == (0, 1, 8, 8)


@pytest.mark.slow
def test_latents_that_are_no_numbers_are_dropped_and_zeroed():
    class Breaks(Digits):
        def latents(self, images):
            found = super().latents(images)
            found[1] = torch.nan
            return found

    kept = empty(Breaks(CPU))
    (batch,) = read(kept, stored(0, 1, 2))
    assert batch.rows.tolist() == [0, 2]
    assert (len(batch.images), len(batch.looks.thumbnail)) == (2, 2)
    assert not batch.path.clean[1].any()


def test_an_image_that_breaks_off_is_said():
    cut = ImageBytes("cut.png", encoded(noise(0, (64, 64)))[:2000])
    kept = empty(Digits(CPU))
    with pytest.raises(PromptError, match=r"the image 'cut\.png' cannot be read: .*truncated"):
        read(kept, [cut])


def test_a_policy_of_videos_is_refused():
    class Films(Digits):
        def decode(self, latents):
            return super().decode(latents)[:, None]

    kept = empty(Films(CPU))
    with pytest.raises(ValueError, match="are still images, and the policy makes videos"):
        read(kept, stored(0))


def test_images_are_of_the_size_that_the_policy_makes():
    class Halves(Digits):
        def decode(self, latents):
            return super().decode(latents)[..., ::2, ::2]

        def latents(self, images):
            assert images.shape[-2:] == (4, 4)
            return super().latents(images.repeat(1, 1, 2, 2))

    for policy in (Digits(CPU), Halves(CPU)):
        assert float(clean(read(empty(policy), [GREY])).mean()) == pytest.approx(0.6)


PAIR = tuple(stored(0, 1))


def test_a_prompt_is_asked_with_each_images_own_preference():
    prompt = Prompt("a cat", {"preference": [0.25, 3], "digit": 7}, PAIR)
    first, second = own_prompt(prompt, 0), own_prompt(prompt, 1)
    assert (first.images, second.images) == ((PAIR[0],), (PAIR[1],))
    assert first.metadata == {"preference": 0.25, "digit": 7}
    assert second.metadata == {"preference": 3, "digit": 7}
    assert first.text == second.text == "a cat"
    assert prompt.metadata == {"preference": [0.25, 3], "digit": 7}


@pytest.mark.parametrize("preference", [0.5, "no", [1, 2, 3], None])
def test_what_is_no_list_with_a_number_for_each_stays(preference):
    prompt = Prompt("a cat", {"preference": preference}, PAIR)
    assert own_prompt(prompt, 1).metadata == {"preference": preference}


def test_an_image_that_a_prompt_has_not_is_said():
    with pytest.raises(PromptError, match=r"with 2 images .* number 3; write data.group_size: 2$"):
        own_prompt(Prompt("a cat", images=PAIR), 2)
    with pytest.raises(PromptError, match=r"with no images .* name a source of prompts with image"):
        own_prompt(Prompt("a cat"), 0)
