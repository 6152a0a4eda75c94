"""What holds of all four rewards on CLIP: dtypes, prompts, images, devices and rests."""

from pathlib import Path

import pytest
import torch

from zoo.prompt import Prompt
from zoo.reward.aesthetic import Aesthetic
from zoo.reward.clipscore import ClipScore
from zoo.reward.hpsv2 import HPSv2
from zoo.reward.pickscore import PickScore
from zoo.reward.resident import Resident
from zoo.testing.inputs import some_images

CPU = torch.device("cpu")
ALL = (Aesthetic, ClipScore, HPSv2, PickScore)
READERS = (ClipScore, HPSv2, PickScore)
EACH = pytest.mark.parametrize("cls", ALL)
PROMPTS = [Prompt("a red cube, on a blue sphere!"), Prompt("two dogs"), Prompt(""), Prompt("🐶")]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    return {cls: cls.write_tiny(folder / cls.__name__) for cls in ALL}


@EACH
def test_smaller_dtypes_score_nearly_the_same(written, cls):
    images = some_images(4, 28)
    wanted = cls(CPU, **written[cls]).score(images, PROMPTS)
    for dtype in ("bfloat16", "float16"):
        scores = cls(CPU, **written[cls], dtype=dtype).score(images, PROMPTS)
        assert scores.dtype == torch.float32
        scale = 100 / 26 if cls is PickScore else 1.0
        torch.testing.assert_close(scores, wanted, rtol=0, atol=0.02 * scale)


@pytest.mark.parametrize("cls", READERS)
def test_the_prompt_and_the_image_both_matter(written, cls):
    reward, images = cls(CPU, **written[cls]), some_images(2, 28)
    one, other = reward.score(images[:1].expand(2, -1, -1, -1), PROMPTS[:2]).tolist()
    assert abs(one - other) > 1e-2
    one, other = reward.score(images, PROMPTS[:1] * 2).tolist()
    assert abs(one - other) > 1e-2


@EACH
def test_a_score_is_that_of_its_image_and_prompt_alone(written, cls):
    reward, images = cls(CPU, **written[cls]), some_images(4, 40)
    whole, order = reward.score(images, PROMPTS), [2, 0, 3, 1]
    turned = reward.score(images[order], [PROMPTS[i] for i in order])
    torch.testing.assert_close(turned, whole[order], rtol=0, atol=2e-6)
    for i in range(4):
        alone = reward.score(images[i : i + 1], PROMPTS[i : i + 1])
        torch.testing.assert_close(alone, whole[i : i + 1], rtol=0, atol=2e-6)


@pytest.mark.parametrize("cls", READERS)
def test_a_prompt_is_read_to_its_77th_token(written, cls):
    reward, image = cls(CPU, **written[cls]), some_images(1, 28)
    # Two of them are the start and the end.
    texts = ("b " * 75, "b " * 75 + "dog", "b " * 5000, "b " * 74 + "d")
    scores = [float(reward.score(image, [Prompt(text)])) for text in texts]
    assert scores[0] == scores[1] == scores[2] != scores[3]


@EACH
@pytest.mark.parametrize("text", ["", " ", "🐶" * 40, "é\n\t漢字", "<|endoftext|> a", "a" * 10_000])
def test_any_text_is_scored(written, cls, text):
    assert cls(CPU, **written[cls]).score(some_images(1, 28), [Prompt(text)]).isfinite().all()


@EACH
def test_an_image_that_is_not_finite_is_not_scored_and_the_others_are(written, cls):
    reward, images = cls(CPU, **written[cls]), some_images(3, 28)
    wanted = reward.score(images, PROMPTS[:3])
    images[1, 0, 3, 3] = torch.nan
    found = reward.score(images, PROMPTS[:3])
    assert found.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found[[0, 2]], wanted[[0, 2]])


@EACH
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (200, 3), (27, 29)])
def test_images_of_any_shape_are_scored(written, cls, shape):
    images = some_images(2, 200)[..., : shape[0], : shape[1]]
    assert cls(CPU, **written[cls]).score(images, PROMPTS[:2]).isfinite().all()


@EACH
def test_loading_and_writing_draw_nothing_from_the_runs_generator(tmp_path, cls):
    before = torch.get_rng_state()
    cls(CPU, **cls.write_tiny(tmp_path))
    assert torch.equal(torch.get_rng_state(), before)


@EACH
def test_what_is_written_is_small(written, cls):
    folder = Path(next(iter(written[cls].values())))
    files = (folder if folder.is_dir() else folder.parent).iterdir()
    assert sum(file.stat().st_size for file in files) < 3e6


class Told(torch.nn.Linear):
    """A layer that says where it is told to go, and stays."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.told: list[str] = []

    def to(self, where):
        self.told.append(str(where))
        return self


def test_with_offload_a_model_comes_for_a_score_and_leaves_at_rest():
    network = Told()
    home = Resident(network, torch.device("cuda:1"), torch.float32, offload=True)
    assert network.told == ["torch.float32"]
    for _ in range(2):
        assert home.wake() is network
        home.wake()
        home.rest()
    assert network.told[1:] == ["cuda:1", "cuda:1", "cpu"] * 2


def test_without_offload_a_model_stays():
    network = Told()
    home = Resident(network, torch.device("cuda:1"), torch.float32, offload=False)
    home.wake()
    home.rest()
    assert network.told == ["torch.float32", "cuda:1"]


def test_a_model_that_rests_is_off_its_device_and_one_that_is_awake_on_it():
    home = Resident(torch.nn.Linear(2, 2), torch.device("meta"), torch.bfloat16, offload=True)
    weight = next(home._network.parameters())
    assert (weight.device.type, weight.dtype) == ("cpu", torch.bfloat16)
    assert next(home.wake().parameters()).is_meta


@EACH
def test_scores_are_the_same_after_a_rest(written, cls):
    reward, images = cls(CPU, **written[cls], offload=True), some_images(4, 28)
    wanted = cls(CPU, **written[cls]).score(images, PROMPTS)
    for _ in range(2):
        assert torch.equal(reward.score(images, PROMPTS), wanted)
        reward.rest()


@EACH
@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", "cpu:x"])
def test_a_device_that_cannot_be_used_is_refused(written, cls, device):
    with pytest.raises(ValueError, match=f"^the model_device '{device}' cannot be used") as said:
        cls(CPU, **written[cls], model_device=device)
    assert "\n" not in str(said.value)


@EACH
def test_another_device_than_the_runs_is_used(written, cls):
    reward = cls(torch.device("meta"), **written[cls], model_device="cpu")
    images = some_images(2, 28)
    wanted = cls(CPU, **written[cls]).score(images, PROMPTS[:2])
    assert torch.equal(reward.score(images, PROMPTS[:2]), wanted)
